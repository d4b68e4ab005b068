"""Rate-distortion curves, measured: how far the output moves when one layer alone is pruned further and further."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import torch
from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info, is_main_process
from torch import Tensor
from tqdm import tqdm

from mmprune.distortion.cuts import Cut
from mmprune.distortion.inference import faster_inference
from mmprune.distortion.prefix import PrefixReplay
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import Example, tracing_mode
from mmprune.images.calibration import NormalInputs, calibration_batches, small_sample
from mmprune.images.source import ImageSource
from mmprune.measure.layout import Layout
from mmprune.options import Checked, Count
from mmprune.storage.cache import DiskCache, content_key, default_folder


class CurveMeasurer(Checked):
    """Measures the distortion of a network's output for a grid of kept counts of each layer (Xu et al., ICCV 2023).

    The distortion of one image is the mean squared change of everything that the traced part returns: logits of a
    classifier, feature maps of a detector. What comes before a layer is computed once per batch, its units are sorted
    once, and what is already gone is not measured again. Layers are shared among the ranks of a distributed run.
    """

    def __init__(
        self,
        num_images: Count = 64,
        worst_case: bool = True,
        points: Count = 32,
        grid: Literal['relative', 'absolute'] = 'relative',
        source: Literal['given', 'noise'] = 'given',
        batch_size: Count = 64,
        seed: int = 0,
        cache: bool | str | os.PathLike = True,
        progress: bool = True,
    ) -> None:
        """Say on what curves are measured, and how finely.

        Args:
            num_images: Number of calibration images (published: 1,024 for CIFAR, 256 for ImageNet).
            worst_case: The curve is the largest distortion over the images (as published), not their mean.
            points: Intervals of the grid of kept counts (published: 100); layers with fewer units have one for each.
            grid: 'relative' divides what is alive, 'absolute' what the layer had when it was dense (as published).
            source: 'given' takes the images that the pruner got, N(0, 1) if it got none; 'noise' takes N(0, 1) always.
            batch_size: Images per forward pass.
            seed: Seeds the noise.
            cache: Folder that keeps finished curves under a hash of weights, masks, images and options; True is
                ``$MMPRUNE_CACHE`` or the user's cache folder, False keeps nothing.
            progress: Show a progress bar with the time left (on a terminal).
        """
        self.num_images, self.worst_case, self.points, self.grid = num_images, worst_case, points, grid
        self.source, self.batch_size, self.seed, self.progress = source, batch_size, seed, progress
        self.cache = DiskCache(default_folder() / 'curves' if cache is True else cache or None)

    def measure(
        self, cuts: Sequence[Cut], scope: Scope, images: ImageSource | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The curve of every cut by its name.

        Args:
            cuts: The layers' units.
            scope: The network, and which part of it gives the output.
            images: Normalised images; None: N(0, 1) of the example's shape.

        Returns:
            Kept counts, falling from all that is alive to 0 (int64), and distortions, starting at 0 (float64), both of
            shape ``(k,)``.
        """
        batches = self.batches(scope, images)
        with tracing_mode(scope.model), torch.no_grad():
            found = self._measure(cuts, scope, batches)
        kind = 'max' if self.worst_case else 'mean'
        return {
            cut.name: (torch.tensor(found[cut.name]['kept']), torch.tensor(found[cut.name][kind], dtype=torch.float64))
            for cut in cuts
        }

    def describe(self, images: ImageSource | None) -> str:
        """Images that the curves are measured on, for reports."""
        if images is None or self.source == 'noise':
            return f'curves on {self.num_images} {NormalInputs.origin}'
        return f'curves on {images.first(self.num_images).describe()}'

    def kept_counts(self, cut: Cut) -> list[int]:
        """The grid of a layer: from all that is alive down to 0."""
        whole = cut.alive if self.grid == 'relative' else len(cut.order)
        steps = max(1, min(self.points, whole))
        removed = {whole * step // steps for step in range(steps + 1)}
        return [cut.alive, *sorted((whole - gone for gone in removed if whole - gone < cut.alive), reverse=True)]

    def batches(self, scope: Scope, images: ImageSource | None) -> list[Example]:
        """The same batches on every rank."""
        images = None if self.source == 'noise' else images
        example = scope.example if isinstance(scope.example, Tensor) else scope.probe_input()
        return calibration_batches(example, images, self.num_images, self.batch_size, self.seed)

    def _measure(self, cuts: Sequence[Cut], scope: Scope, batches: list[Example]) -> dict[str, dict]:
        rank, world = get_dist_info()
        content = content_key(repr(scope.model), dict(scope.model.state_dict()), batches, scope.targets)
        keys = {cut.name: content_key(content, cut.name, cut.alive, cut.order, self.kept_counts(cut)) for cut in cuts}
        found = {
            cut.name: value
            for cut in cuts
            if (value := self.cache.get(keys[cut.name])) is not None and _is_curve(value, self.kept_counts(cut))
        }
        if world > 1:
            holder = [found]
            broadcast_object_list(holder)  # ranks may see different disks, but must share the work alike
            found = holder[0]
        missing = [cut for cut in cuts if cut.name not in found]
        mine = {}
        if missing:
            batches = list(map(Layout(scope.model.modules(), [scope.forward]), batches))
            sample = small_sample(batches[0])  # all activations of these are held
            with faster_inference(scope.model, scope.forward, sample):
                prefix = PrefixReplay(scope.model, scope.forward, sample)
                with prefix.installed(), self._bar(missing[rank::world], batches) as bar:
                    for cut in missing[rank::world]:
                        bar.set_description(f'distortion of {cut.name}')
                        mine[cut.name] = self._curve(cut, prefix, batches, bar)
                        self.cache.put(keys[cut.name], mine[cut.name])
        for part in all_gather_object(mine) if world > 1 else [mine]:
            found.update(part)
        return found

    def _bar(self, cuts: Sequence[Cut], batches: Sequence[Example]) -> tqdm:
        total = sum(len(self.kept_counts(cut)) - 1 for cut in cuts) * len(batches)
        hidden = True if not (self.progress and is_main_process()) else None  # None: hidden unless on a terminal
        return tqdm(total=total, disable=hidden, unit='pass', leave=False)

    def _curve(self, cut: Cut, prefix: PrefixReplay, batches: Sequence[Example], bar: tqdm) -> dict[str, list]:
        kept = self.kept_counts(cut)
        ran = [module for module in cut.modules if prefix.order(module) is not None]
        mean, largest, count = [0.0] * len(kept), [0.0] * len(kept), 0
        for batch in batches:
            if not ran:  # what never runs changes nothing
                break
            reference = prefix.record(min(ran, key=lambda module: prefix.order(module) or 0), batch)
            try:
                for point, number in enumerate(kept[1:], start=1):
                    cut.shrink(number)
                    errors = output_errors(reference, prefix.replay(batch))
                    mean[point] += float(errors.sum())
                    largest[point] = max(largest[point], float(errors.max()))
                    bar.update()
            finally:
                cut.restore()
            count += len(errors)
        return {'kept': kept, 'mean': [value / max(count, 1) for value in mean], 'max': largest}


def output_errors(reference: Sequence[Tensor], outputs: Sequence[Tensor]) -> Tensor:
    """Mean squared difference per image over all output tensors together, float64, shape ``(N,)``.

    Raises:
        ValueError: The outputs do not have one row per image.
    """
    if len({len(out) for out in reference}) != 1:
        raise ValueError(
            'the outputs of this network have no common first dimension (N, …): '
            f'{[tuple(out.shape) for out in reference]}; prune a part that returns a tensor per image'
        )
    squared = (
        (a - b).flatten(1).double().square().sum(dim=1) if a.dim() > 1 else (a - b).double().square()
        for a, b in zip(reference, outputs)
        if a.is_floating_point()
    )
    start = reference[0].new_zeros((), dtype=torch.float64)
    return sum(squared, start) / sum(out[0].numel() for out in reference if out.is_floating_point())


def _is_curve(value: dict, kept: Sequence[int]) -> bool:
    """A value of the cache that can be used."""
    return value.get('kept') == list(kept) and all(
        isinstance(value.get(key), list)
        and len(value[key]) == len(kept)
        and all(isinstance(item, float) for item in value[key])
        for key in ('mean', 'max')
    )
