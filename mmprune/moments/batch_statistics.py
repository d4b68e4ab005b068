"""Batch norms that normalise by the batch, for images that a network was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook


@contextmanager
def batch_statistics(norms: Iterable[nn.Module] | None = None) -> Iterator[None]:
    """Every batch norm that runs normalises by its batch, and its running statistics stay as they are.

    Behind each of them activations then have exactly the mean and variance that the network was trained with, whatever
    the images; only the correlations come from the images. Synchronised batch norms take this rank's batch: ranks may
    see different numbers of batches.

    Args:
        norms: Only these; None: all that run.
    """
    wanted = None if norms is None else set(norms)
    in_training: set[nn.Module] = set()

    def concerns(module: nn.Module, args: tuple) -> bool:
        is_wanted = isinstance(module, _BatchNorm) and (wanted is None or module in wanted)
        return is_wanted and args[0].numel() > args[0].shape[1]  # one value has no variance

    def hold(module: nn.Module, args: tuple) -> None:
        if concerns(module, args) and module.training:
            in_training.add(module)
            module.training = False

    def normalise(module: nn.Module, args: tuple, output: Tensor) -> Any:
        if not (isinstance(module, _BatchNorm) and concerns(module, args)):
            return None
        return F.batch_norm(args[0], None, None, module.weight, module.bias, training=True, eps=module.eps)

    try:
        with register_module_forward_pre_hook(hold), register_module_forward_hook(normalise):
            yield
    finally:
        for module in in_training:
            module.training = True
