"""Surroundings of a forward pass that must not change its result: precision, device and gradient modes, compilers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
import torch.utils.checkpoint
from torch import Tensor, nn


class _Direct:
    """Stands in for reentrant activation checkpointing, whose inside autograd does not see: just runs the function."""

    @staticmethod
    def apply(function: object, preserve: bool, *args: object) -> object:
        return function(*args)  # type: ignore[operator]


@contextmanager
def neutral_surroundings(model: nn.Module) -> Iterator[None]:
    """Gradients, no autocast, no inference mode, no compiled code, the network's own precision, the CPU as default.

    Whatever a user has switched on around the call is as before afterwards.
    """
    real = next((tensor for tensor in model.parameters() if tensor.is_floating_point()), None)
    kind = torch.float64 if real is not None and real.dtype == torch.float64 else torch.float32
    default = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ('cpu', 'cuda'):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
                stack.callback(torch.clear_autocast_cache)  # it holds copies of weights by their address
        if torch.get_default_device().type != 'cpu':
            stack.enter_context(torch.device('cpu'))
        if 'torch._dynamo' in sys.modules:
            stack.enter_context(torch.compiler.set_stance('force_eager'))
        stack.enter_context(_replaced(torch.utils.checkpoint, 'CheckpointFunction', _Direct))
        for module in model.modules():
            if vars(module).get('_compiled_call_impl') is not None:
                stack.enter_context(_replaced(module, '_compiled_call_impl', None))
        stack.callback(torch.set_default_dtype, default)
        torch.set_default_dtype(kind)
        yield


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def protected(model: nn.Module, seed: int = 0) -> Iterator[None]:
    """Weights, buffers, modes and random numbers put back exactly on exit, whatever a forward pass does to them.

    Some networks write to their weights in training mode (a momentum encoder, say).
    """
    weights = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
    buffers = [
        (module, name, tensor, None if tensor is None else tensor.clone())
        for module in model.modules()
        for name, tensor in module._buffers.items()
    ]
    training = {module: module.training for module in model.modules()}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == 'cuda'})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in weights:
                    if not _same(parameter, value):
                        parameter.data = value
                for module, name, tensor, value in buffers:
                    if tensor is not None and not _same(tensor, value):
                        tensor.copy_(value)
                    if module._buffers.get(name) is not tensor:
                        module._buffers[name] = tensor
            for module, mode in training.items():
                module.training = mode


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
