"""Drift of batch-norm inputs when a network changes, measured on the same images before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook

from mmprune.graph.site import Site
from mmprune.graph.tracing import Forward
from mmprune.images.source import ImageSource
from mmprune.moments.batch_statistics import batch_statistics

#: Mean and variance of a batch norm's input, each of shape ``(c,)``, float64.
Statistics = Mapping[_BatchNorm, tuple[Tensor, Tensor]]


@contextmanager
def watch_norms() -> Iterator[Callable[[], Statistics]]:
    """Observe every batch norm that runs; what is yielded gives the statistics so far, averaged over batches."""
    sums: dict[_BatchNorm, list] = {}

    def observe(module: nn.Module, args: tuple) -> None:
        if isinstance(module, _BatchNorm) and module.running_var is not None and args[0].numel() > args[0].shape[1]:
            var, mean = torch.var_mean(args[0].detach(), dim=[d for d in range(args[0].dim()) if d != 1])
            entry = sums.setdefault(module, [0.0, 0.0, 0])
            entry[:] = entry[0] + mean.double(), entry[1] + var.double(), entry[2] + 1

    with register_module_forward_pre_hook(observe):
        yield lambda: {module: (mean / count, var / count) for module, (mean, var, count) in sums.items()}


@torch.no_grad()
def norm_statistics(forward: Forward, images: ImageSource) -> Statistics:
    """Mean and variance of every batch norm's input when all batches normalise themselves.

    Args:
        forward: Runs the network on a batch.
        images: Batches of images of shape (N, C, H, W), usually noise.
    """
    with watch_norms() as statistics:
        for batch in images:
            with batch_statistics():
                forward(batch)
    return statistics()


class DriftCorrection:
    """Moves running statistics as they moved on the same images between the dense and the changed network.

    What the images get wrong about a network they get wrong about both, so most of it cancels: noise or synthetic
    images then tell more than their own statistics would.
    """

    def __init__(self) -> None:
        self._dense: dict[_BatchNorm, tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]] = {}
        self._gone: dict[nn.Module, list[Tensor]] = {}

    def remember(self, statistics: Statistics) -> None:
        """Take in what was measured on the dense network, and forget everything else."""
        self._gone.clear()
        self._dense = {
            norm: ((norm.running_mean.clone(), norm.running_var.clone()), measured)
            for norm, measured in statistics.items()
            if norm.running_mean is not None and norm.running_var is not None
        }

    def cut(self, site: Site, keep: Tensor) -> None:
        """Note that a site keeps only the units ``keep``."""
        gone = torch.ones(site.width, dtype=torch.bool)
        gone[keep.cpu()] = False
        for norm in site.norms:
            self._gone.setdefault(norm.module, []).append(norm.index.cpu()[gone])

    def apply(self, forward: Forward, images: ImageSource) -> int:
        """Measure the changed network on the same images and move its statistics.

        Returns:
            How many batch norms could not be followed: they lost channels with a group that :meth:`cut` never saw.
        """
        lost = 0
        for norm, after in norm_statistics(forward, images).items() if self._dense else ():
            if norm not in self._dense:
                continue
            stored, before = self._dense[norm]
            gone = torch.cat(self._gone.get(norm, [torch.arange(0)]))
            keep = torch.ones(len(stored[0]), dtype=torch.bool)
            keep[gone] = False
            if int(keep.sum()) != len(after[0]):
                lost += 1
                continue
            keep = keep.to(stored[0].device)
            correct_drift(norm, (stored[0][keep], stored[1][keep]), (before[0][keep], before[1][keep]), after)
        self._dense.clear()
        return lost


def correct_drift(
    norm: _BatchNorm, stored: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> None:
    """Set running statistics to those of the old network, moved as the measured ones moved.

    Args:
        norm: The batch norm of the changed network.
        stored: Its running mean and variance in the old network, each of shape ``(c,)``.
        before: Measured mean and variance of its input in the old network.
        after: The same in the changed network.
    """
    mean, var = (value.double().to(before[0].device) for value in stored)
    floor = 1e-8 * before[1].mean().clamp_min(1e-30)
    quotient = (after[1] + floor) / (before[1] + floor)
    # What the images get wrong about a mean is proportional to the filter: nothing of it is left of one that is gone.
    share = (after[1] / before[1].clamp_min(1e-30)).sqrt()
    for statistic, value in (
        (norm.running_mean, after[0] + share * (mean - before[0])),
        (norm.running_var, var * quotient),
    ):
        if statistic is not None:
            statistic.copy_(value)
