"""Images that a network with batch norm remembers its training data by."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal, cast

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor
from tqdm import tqdm

from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.images.image_loss import ImageLoss, move
from mmprune.images.inverted_network import InvertedNetwork
from mmprune.images.phase import Phase
from mmprune.images.pixel_range import Clamp, pixel_range
from mmprune.images.store import ImageStore
from mmprune.images.synthesizer import ImageCount, Synthesizer
from mmprune.measure.layout import Layout
from mmprune.options import Count, ImageShape, NonNegativeCount, Positive, build
from mmprune.registry import SYNTHESIZERS
from mmprune.storage.cache import content_key

#: Change this when the same options would give other images.
VERSION = 1
OPTIONS = ('num_images', 'batch_size', 'seed', 'flip', 'lr', 'betas', 'lr_schedule', 'warmup', 'best', 'amp')


@SYNTHESIZERS.register_module()
class DeepInversion(Synthesizer):
    r"""Images whose batch statistics are those that the network's batch norms remember (Yin et al., CVPR 2020).

    Noise is changed by Adam until a classifier takes it for the wanted classes and every batch norm sees the mean and
    variance that it saw in training. Of a detector only the target (its backbone) is run, without classes. Labels go
    round: image ``i`` shows class ``i mod C``. Every batch has a generator of its own, so the images depend neither on
    the number of ranks nor on interruptions (on CUDA, bit by bit, as far as the network's kernels are deterministic).

    The defaults are those published for CIFAR-10. Published for detectors (image size 250): ``num_images=1600,
    batch_size=16, phases=[dict(iterations=2000, downscale=2, jitter=15), dict(iterations=1000, jitter=30)],
    flip=True, lr=0.25, betas=(0.5, 0.9), lr_schedule='constant', bn_weight=0.01, first_bn_multiplier=10,
    tv2_weight=1e-4, l2_weight=1e-5, l2_norm='image'``. CIFAR-100: as CIFAR-10, but ``lr_schedule='constant'``.

    Example:
        >>> synthesizer = DeepInversion(num_images=512, phases=[dict(iterations=500, jitter=2)])
        >>> store = synthesizer.prepare(Scope.of(model, torch.zeros(1, 3, 32, 32)), 'work_dirs/run')
        >>> mmprune.prune(model, torch.zeros(1, 3, 32, 32), restorer='BNRecalibration', images=store)
    """

    def __init__(
        self,
        num_images: ImageCount = 12800,
        batch_size: Count = 256,
        phases: Sequence[Mapping] = (dict(iterations=2000, jitter=2),),
        shape: ImageShape | None = None,
        seed: int = 0,
        flip: bool = False,
        lr: Positive = 0.1,
        betas: tuple[float, float] = (0.9, 0.99),
        lr_schedule: Literal['cosine', 'constant'] = 'cosine',
        warmup: NonNegativeCount = 100,
        main_weight: float = 1.0,
        bn_weight: float = 10.0,
        first_bn_multiplier: float = 1.0,
        tv1_weight: float = 0.0,
        tv2_weight: float = 1e-3,
        l2_weight: float = 0.0,
        l2_norm: Literal['batch', 'image'] = 'batch',
        clamp: Clamp | None = 'imagenet',
        best: Literal['overall', 'phase'] = 'overall',
        amp: bool = False,
        root: str | Path | None = None,
        progress: bool = True,
    ) -> None:
        """A recipe of an inversion; nothing is made before :meth:`prepare`.

        Args:
            num_images: How many images. Of the last batch, which is optimised whole, only what is wanted is kept.
            batch_size: Images that are optimised together, and whose statistics are matched.
            phases: One after the other: ``iterations``, ``downscale`` (edge of the square of pixels that the network
                sees as one; default 1) and ``jitter`` (largest shift along both axes, in pixels; default 0).
            shape: (C, H, W). None: that of the network's example input.
            seed: Seeds the images, and nothing else.
            flip: Whether the batch is mirrored in half of the iterations.
            lr: Adam's step.
            betas: Adam's; each phase has a new Adam.
            lr_schedule: 'cosine' (linear warm-up, then a cosine to 0, in each phase) or 'constant'.
            warmup: Iterations of the warm-up.
            main_weight: Weight of the cross entropy; 0 inverts a classifier without classes.
            bn_weight: Weight of the batch norms' distances.
            first_bn_multiplier: Weight of the first batch norm among them.
            tv1_weight: Weight of the mean absolute differences of neighbours.
            tv2_weight: Weight of the norms of the differences of neighbours.
            l2_weight: Weight of the size of the images.
            l2_norm: 'batch': norm of the whole batch; 'image': mean of the images' norms.
            clamp: Range in which the images are kept: that of pixels normalised with ImageNet's statistics
                ('imagenet', as published for all networks), with those of the model's preprocessor ('model'),
                ``(low, high)`` in normalised units, or None.
            best: Whether the images with the smallest loss of all iterations are kept ('overall', as published: those
                of a phase at low resolution can win) or those of the last phase ('phase').
            amp: Half precision with loss scaling; without effect on the CPU.
            root: Folder of the sets of images, see :class:`Synthesizer`.
            progress: Whether to show a progress bar (on a terminal), or a line in the log for each batch.
        """
        super().__init__(num_images, batch_size, seed, root)
        if not phases:
            raise ValueError('phases: empty; give at least one, e.g. [dict(iterations=2000, jitter=2)]')
        self.phases = [build(Phase, phase, f'phases[{number}]') for number, phase in enumerate(phases)]
        self.shape = None if shape is None else tuple(shape)
        self.flip, self.lr, self.betas, self.amp, self.progress = flip, lr, tuple(betas), amp, progress
        self.lr_schedule, self.warmup, self.best = lr_schedule, warmup, best
        self.clamp = clamp if clamp is None or isinstance(clamp, str) else _ascending(clamp)
        self.loss = ImageLoss(main_weight, bn_weight, first_bn_multiplier, tv1_weight, tv2_weight, l2_weight, l2_norm)

    def prepare(self, scope: Scope, work_dir: str | Path) -> ImageStore:
        """Make what is missing of the images; see :class:`Synthesizer`.

        Raises:
            ConfigError: The network has no batch norm, an option does not fit it, or the loss stopped being a number.
        """
        example = self._example(scope)
        network = InvertedNetwork(scope)
        if not self.loss.main:
            network.num_classes = None
        shape = self.shape or tuple(example.shape[1:])
        for phase in self.phases:
            phase.check(shape)
        low, high = pixel_range(self.clamp, scope.model, shape[0])
        options = {key: getattr(self, key) for key in OPTIONS}
        options |= {'phases': [asdict(phase) for phase in self.phases], **asdict(self.loss), 'low': low, 'high': high}
        content = content_key(
            'DeepInversion',
            VERSION,
            sorted(options.items()),
            shape,
            network.num_classes,
            network.architecture(),
            dict(network.module.state_dict()),
        )
        about = {
            'what': f'DeepInversion: images made from {type(network.module).__name__} with {len(network.layers)} '
            'batch norms, without any data',
            'num_images': self.num_images,
            'batch_size': self.batch_size,
            'shape': shape,
            'num_classes': network.num_classes,
            'options': options,
        }
        store, mine = self._open(scope, work_dir, content, about)
        bounds = None if low is None else tuple(torch.tensor(end).view(-1, 1, 1).to(example) for end in (low, high))
        total = len(mine) * sum(phase.iterations for phase in self.phases)
        hidden = True if not (self.progress and is_main_process()) else None  # None: hidden unless on a terminal
        start = time.perf_counter()
        with tqdm(total=total, disable=hidden, unit='it', leave=False) as bar, network.fixed():
            for done, index in enumerate(mine, start=1):
                bar.set_description(f'batch {index + 1} of {len(store)}')
                begin = time.perf_counter()
                images, facts = self._invert(network, index, torch.empty(0, *shape).to(example), bounds, bar)
                store.write(
                    index,
                    images[: self.num_images - index * self.batch_size],
                    seconds=round(time.perf_counter() - begin, 3),
                    **facts,
                )
                self._log(bar, index, done, len(mine), facts, start)
        return self._finish(store, scope)

    def labels(self, index: int, num_classes: int) -> Tensor:
        """Classes of a batch, (batch_size,): as often as possible each, going on where the last batch ended."""
        return torch.arange(index * self.batch_size, (index + 1) * self.batch_size) % num_classes

    def step(
        self,
        network: InvertedNetwork,
        x: Tensor,
        labels: Tensor | None,
        optimizer: torch.optim.Optimizer,
        moved: Mapping,
        bounds: tuple[Tensor, Tensor] | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> dict[str, Tensor]:
        """One iteration: change the images ``x`` (N, C, H, W) in place.

        Args:
            network: Inside its ``fixed()``.
            x: A leaf that wants a gradient, the optimiser's only parameter.
            labels: Wanted classes (N,), or None.
            optimizer: Adam.
            moved: Arguments of :func:`move`.
            bounds: Lowest and highest value of every channel.
            scaler: For half precision.

        Returns:
            The terms of the loss before the step.
        """
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.half, enabled=scaler is not None):
            losses = self.loss(network, move(x, **moved), labels)
        if scaler is None:
            losses['total'].backward()
            optimizer.step()
        else:
            scaler.scale(losses['total']).backward()
            scaler.step(optimizer)
            scaler.update()
        if bounds is not None:
            with torch.no_grad():
                x.clamp_(*bounds)
        return {key: value.detach() for key, value in losses.items()}

    def lr_at(self, iteration: int, iterations: int) -> float:
        """Adam's step in an iteration of a phase, counted from 0."""
        if self.lr_schedule == 'constant':
            return self.lr
        if iteration < self.warmup:
            return self.lr * (iteration + 1) / self.warmup
        share = (iteration - self.warmup) / max(1, iterations - self.warmup)
        return self.lr * (1 + math.cos(math.pi * share)) / 2

    def _invert(
        self, network: InvertedNetwork, index: int, like: Tensor, bounds: tuple[Tensor, Tensor] | None, bar: tqdm
    ) -> tuple[Tensor, dict]:
        """One batch, and what to note about it."""
        generator = torch.Generator().manual_seed(_seed(self.seed, index))
        x = torch.randn(self.batch_size, *like.shape[1:], generator=generator).to(like)
        scaler = torch.amp.GradScaler('cuda') if self.amp and x.is_cuda else None
        layout = Layout(network.module.modules(), [network.forward], 'cpu' if scaler is None else 'cuda')
        x = cast(Tensor, layout(x)).requires_grad_()
        labels = None if network.num_classes is None else self.labels(index, network.num_classes).to(x.device)
        best, smallest, facts = torch.empty_like(x, requires_grad=False), math.inf, {}
        for number, phase in enumerate(self.phases, start=1):
            optimizer = torch.optim.Adam([x], lr=self.lr, betas=self.betas)
            smallest = math.inf if self.best == 'phase' else smallest
            for iteration in range(phase.iterations):
                optimizer.param_groups[0]['lr'] = self.lr_at(iteration, phase.iterations)
                losses = self.step(network, x, labels, optimizer, phase.draw(self.flip, generator), bounds, scaler)
                loss = float(losses['total'])
                if not math.isfinite(loss):
                    raise ConfigError(
                        f'DeepInversion: the loss is {loss} in iteration {iteration + 1} of phase '
                        f'{number} of batch {index + 1}; try a smaller lr or other weights'
                    )
                if loss < smallest:
                    best.copy_(x.detach())
                    smallest, facts = loss, {'phase': number, 'iteration': iteration + 1, 'losses': losses}
                if not bar.disable and iteration % 10 == 0:
                    bar.set_postfix(_plain(losses), refresh=False)
                bar.update()
        return best, {**facts, 'losses': _plain(facts['losses'])}

    def _log(self, bar: tqdm, index: int, done: int, number: int, facts: dict, start: float) -> None:
        """A line per batch, where nobody sees the bar."""
        if bar.disable and self.progress and is_main_process():
            terms = ', '.join(f'{key} {value:.4g}' for key, value in facts['losses'].items())
            left = (time.perf_counter() - start) / done * (number - done) / 60
            print_log(
                f'DeepInversion: batch {index + 1}, {done} of {number} done, {left:.1f} min left; {terms}', 'current'
            )


def _ascending(clamp: Sequence[float]) -> tuple[float, float]:
    low, high = clamp
    if not low < high:
        raise ValueError(f'clamp: (low, high) with low < high, got {clamp!r}')
    return low, high


def _seed(seed: int, index: int) -> int:
    """A batch's own seed."""
    return int.from_bytes(hashlib.sha256(f'{seed}, {index}'.encode()).digest()[:8], 'little') >> 1


def _plain(losses: Mapping[str, Tensor]) -> dict[str, float]:
    return {key: float(f'{float(value):.6g}') for key, value in losses.items()}
