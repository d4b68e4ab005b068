"""The memory layout in which a network runs fastest, where the network takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmprune.graph.tracing import Example, flatten_tensors

#: Of the largest output: rounding is some 1e-6, a mistake some 1.
TOLERANCE = 1e-4
#: The same between two layouts, whose kernels sum in other orders; training must not tip it.
BETWEEN_LAYOUTS = 1e-2


class Layout:
    """Images in the layout in which a network's convs are fastest; as they are where the network cannot take that.

    A host may do with its images and maps what it likes (``x.view(len(x), -1)``), so that every shape of images is
    tried first: both layouts run, and must give the same outputs. Nothing in the network changes by it.

    Example:
        >>> layout = Layout(model.modules(), [model])
        >>> model(layout(images))
    """

    def __init__(
        self, modules: Iterable[nn.Module], forwards: Sequence[Callable[[Tensor], Any]], device: str = 'cpu'
    ) -> None:
        """Say what runs on the images.

        Args:
            modules: All modules that run; they are in eval mode while the layouts are tried.
            forwards: Calls that run them on images of shape (N, C, H, W).
            device: Type of the devices on which the layout is faster.
        """
        self._modules, self._forwards, self._device = list(modules), forwards, device
        self._bears = bears_channels_last(self._modules)
        self._takes: dict[torch.Size, bool] = {}

    def __call__(self, images: Example) -> Example:
        """Images of shape (N, C, H, W) in the better layout; anything else as it is."""
        if not (self._bears and isinstance(images, Tensor) and images.dim() == 4):
            return images
        if images.device.type != self._device or not images.is_floating_point():
            return images
        shape = images.shape[1:]
        if shape not in self._takes:
            self._takes[shape] = self._try(images.detach()[:2])
        return images.contiguous(memory_format=torch.channels_last) if self._takes[shape] else images

    def _try(self, images: Tensor) -> bool:
        """Do both layouts give the same? Two images at least: views of a single one fit more strides."""
        images = torch.cat((images, images))[:2]
        devices = [images.device] if images.is_cuda else []
        try:
            with _in_eval_mode(self._modules), torch.no_grad(), torch.random.fork_rng(devices):
                return all(
                    alike(
                        flatten_tensors(forward(images.clone(memory_format=torch.contiguous_format))),
                        flatten_tensors(forward(images.clone(memory_format=torch.channels_last))),
                        BETWEEN_LAYOUTS,
                    )
                    for forward in self._forwards
                )
        except RuntimeError:  # a view of strides that do not fit
            return False


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


def alike(before: Sequence[Tensor], after: Sequence[Tensor], tolerance: float = TOLERANCE) -> bool:
    """True for tensors that differ by rounding at most."""
    return len(before) == len(after) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=tolerance * float(a.abs().max()))
        if a.is_floating_point() and a.numel()
        else torch.equal(a, b)
        for a, b in zip(before, after)
    )


@contextmanager
def _in_eval_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    modes = {module: module.training for module in modules}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
