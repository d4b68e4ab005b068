"""The memory layout in which convolutions are fastest, where it is safe."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mmprune.graph.tracing import Example


def bears_channels_last(modules: Iterable[nn.Module]) -> bool:
    """True unless a conv is among those whose backward pass writes past its memory in this layout on the CPU.

    Strided 1×1 convs with fewer than 8 input channels do (PyTorch 2.10, heap corruption); 16 is the width of the
    widest vectors.
    """
    return all(
        max(conv.kernel_size) > 1 or max(conv.stride) == 1 or conv.in_channels >= 16
        for conv in modules
        if isinstance(conv, nn.Conv2d)
    )


def channels_last(images: Example) -> Example:
    """Images of shape (N, C, H, W) on the CPU in the layout in which its convs are faster; anything else as it is."""
    if isinstance(images, Tensor) and images.dim() == 4 and images.device.type == 'cpu':
        return images.contiguous(memory_format=torch.channels_last)
    return images
