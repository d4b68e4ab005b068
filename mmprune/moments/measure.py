"""Mean and covariance of reader inputs, measured on real images or on noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from mmprune.graph.site import Branch
from mmprune.graph.tracing import Forward, watching
from mmprune.images.source import ImageSource
from mmprune.moments.batch_statistics import batch_statistics
from mmprune.moments.chain import Moments

#: How many numbers are taken into a sum at a time.
CHUNK = 1_000_000


class RunningMoments:
    """Running mean and covariance of samples that arrive in batches; memory is one ``(n, n)`` matrix and one chunk."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self.scatter: Tensor | None = None
        self.size: tuple[int, ...] = ()

    def update(self, samples: Tensor) -> None:
        """Take in samples of shape ``(N, n)``."""
        for chunk in samples.split(max(1, CHUNK // samples.shape[1])):
            self._take(chunk.float().cpu())

    def _take(self, samples: Tensor) -> None:
        mean, count = samples.mean(dim=0, dtype=torch.float64), len(samples)
        if self.scatter is None:
            self.mean, self.scatter = torch.zeros_like(mean), samples.new_zeros(2 * mean.shape)
        delta, total = mean - self.mean, self.count + count
        centred = samples - mean.float()
        # in place: matrices of wide layers are larger than the layers
        self.scatter.addmm_(centred.T, centred).addr_(delta.float(), delta.float(), alpha=self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total

    def moments(self) -> Moments:
        """Moments of all samples, the covariance in single precision; takes no more samples after that."""
        if self.scatter is None:
            raise ValueError('no image was given, or the layer does not run in the forward pass')
        scatter, self.scatter = self.scatter, None
        return Moments(self.mean, scatter.div_(self.count), size=self.size)


def samples_of(branch: Branch, value: Tensor) -> Tensor:
    """A reader's input as samples of its units, shape ``(N, n)``: positions (and flattened pixels) are samples."""
    index = branch.index.to(value.device)
    if isinstance(branch.module, nn.Linear):
        return value.reshape(-1, value.shape[-1])[:, index].transpose(1, 2).reshape(-1, len(index))
    return value[:, index[:, 0]].transpose(0, 1).flatten(1).T


@torch.no_grad()
def measure_moments(
    branches: Sequence[Branch], forward: Forward, images: ImageSource, normalise: bool = False
) -> list[Moments]:
    """Moments of the units at the input of every branch, over all images and positions.

    Args:
        branches: What to measure.
        forward: Runs the network on a batch.
        images: Batches of normalised images of shape (N, C, H, W).
        normalise: Whether batch norms use the batch's own statistics (see :func:`batch_statistics`), for images that
            the network was not trained on.
    """
    found = [RunningMoments() for _ in branches]

    def observe(branch: Branch, running: RunningMoments, value: Tensor) -> None:
        running.size = map_size(value)
        for images in value.split(max(1, CHUNK // value[0].numel())):
            running.update(samples_of(branch, images))

    with _watching_inputs(branches, lambda i, value: observe(branches[i], found[i], value)):
        for batch in images:
            if normalise:
                with batch_statistics():
                    forward(batch)
            else:
                forward(batch)
    return [running.moments() for running in found]


@torch.no_grad()
def measure_sizes(branches: Sequence[Branch], forward: Forward, images: ImageSource) -> list[tuple[int, ...]]:
    """Height and width of every branch's input; one batch is enough."""
    sizes: list[tuple[int, ...]] = [()] * len(branches)
    with _watching_inputs(branches, lambda i, value: sizes.__setitem__(i, map_size(value))):
        for batch in images:
            forward(batch)
            break
    return sizes


def map_size(value: Tensor) -> tuple[int, ...]:
    """Spatial size of an activation of shape (N, C, …); empty for flat ones."""
    return tuple(value.shape[2:])


def _watching_inputs(
    branches: Sequence[Branch], observe: Callable[[int, Tensor], None]
) -> AbstractContextManager[None]:
    return watching(
        {number: branch.module for number, branch in enumerate(branches)},
        lambda number, module, args: observe(number, args[0].detach()),
        before=True,
    )
