"""Zero padding: taps of a conv that hang over the border read nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def tap_coverage(layer: nn.Module, size: Sequence[int]) -> Tensor:
    """Share of output positions at which each tap of a layer lies inside the map, shape ``(t,)``.

    On small maps this matters: a corner tap of a padded 3x3 conv misses a quarter of an 8x8 map's positions.

    Args:
        layer: A conv (linear layers have one tap, which is always inside).
        size: Height and width of the layer's input; empty if unknown, which counts as very large.
    """
    kernel = tuple(getattr(layer, 'kernel_size', (1,)))
    count = int(torch.tensor(kernel).prod())
    if not isinstance(layer, _ConvNd) or len(size) != len(kernel) or layer.padding_mode != 'zeros':
        return torch.ones(count, dtype=torch.float64)
    shares = torch.ones(1, dtype=torch.float64)
    for axis, (length, taps) in enumerate(zip(size, kernel)):
        before, after = _padding(layer, axis)
        step, spread = layer.stride[axis], layer.dilation[axis]
        outputs = (length + before + after - spread * (taps - 1) - 1) // step + 1
        position = torch.arange(outputs)[:, None] * step - before + torch.arange(taps) * spread
        inside = ((position >= 0) & (position < length)).double().mean(dim=0)
        shares = (shares[:, None] * inside).flatten()
    return shares


def _padding(layer: _ConvNd, axis: int) -> tuple[int, int]:
    if layer.padding == 'same':
        total = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        return total // 2, total - total // 2
    return (0, 0) if isinstance(layer.padding, str) else (layer.padding[axis],) * 2
