"""The memory layout in which convolutions are fastest, where it is safe."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def bears_channels_last(modules: Iterable[nn.Module]) -> bool:
    """Whether no conv is among those whose backward pass writes past its memory in this layout on the CPU.

    Strided 1×1 convs with fewer than 8 input channels do (PyTorch 2.10, heap corruption); 16 is the width of the
    widest vectors.
    """
    return all(max(conv.kernel_size) > 1 or max(conv.stride) == 1 or conv.in_channels >= 16
               for conv in modules if isinstance(conv, nn.Conv2d))
