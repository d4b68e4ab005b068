"""Running a part of a model so that every channel in it can be followed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

#: One batch of input: a tensor, positional arguments, or keyword arguments.
Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
#: A call that runs (a part of) a network on such a batch; its tensors may be nested in tuples, lists and dicts.
Forward = Callable[[Example], Any]


def flatten_tensors(outputs: object) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [tensor for item in outputs for tensor in flatten_tensors(item)]
    return []


def map_tensors(function: Callable[[Tensor], Tensor], value: object) -> object:
    """A function applied to every tensor in nested tuples, lists and dicts; other values as they are."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        mapped = copy.copy(value)  # of its own class, with what else that holds
        mapped.update((key, map_tensors(function, item)) for key, item in value.items())
        return mapped
    if isinstance(value, (tuple, list)):
        items = [map_tensors(function, item) for item in value]
        return type(value)(*items) if hasattr(value, '_fields') else type(value)(items)
    return value


def real_maps(outputs: object) -> list[Tensor]:
    """Those of :func:`flatten_tensors` that can hold channels: real numbers, at least two axes."""
    return [tensor for tensor in flatten_tensors(outputs) if tensor.is_floating_point() and tensor.dim() > 1]


@contextmanager
def watching(
    modules: Iterable[nn.Module] | Mapping[Any, nn.Module], hook: Callable[..., object], before: bool = False
) -> Iterator[None]:
    """A hook on the forward passes of modules, for as long as the context lasts.

    Args:
        modules: What is watched; in a mapping every module stands under a key (its name, its index) for the hook.
        hook: Called with module, arguments and output of a pass, and before them with the module's key if there are
            keys. What it returns takes the output's place unless it is None.
        before: Call the hook before a pass, without an output; what it returns then takes the arguments' place.
    """
    pairs = modules.items() if isinstance(modules, Mapping) else ((None, module) for module in modules)
    with ExitStack() as hooks:
        for key, module in pairs:
            register = module.register_forward_pre_hook if before else module.register_forward_hook
            hooks.enter_context(register(partial(hook, key) if isinstance(modules, Mapping) else hook))
        yield


@contextmanager
def tracing_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode, every parameter wanting a gradient, no activation checkpointing; put back exactly on exit.

    mmdet's ``frozen_stages`` would otherwise hide the stem and the first stage from a trace by autograd, and
    ``with_cp`` would hide whole blocks.
    """
    training = {module: module.training for module in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    checkpointed = [module for module in model.modules() if getattr(module, 'with_cp', False) is True]
    try:
        for module in training:
            module.training = False
        for module in checkpointed:
            module.with_cp = False
        for parameter in wanted:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        for module in checkpointed:
            module.with_cp = True
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)


class TracedModel(nn.Module):
    """The part of a model that ``forward`` runs, with a probe behind every output.

    A probe is a one-channel layer that reads the output; a channel group with a probe among its readers leaves the
    traced part.
    """

    def __init__(self, model: nn.Module, forward: Forward, example: Example) -> None:
        super().__init__()
        self.model, self._forward, self._example = model, forward, example
        self._order: dict[nn.Module, int] = {}

        def record(module: nn.Module, args: object, output: object) -> None:
            self._order.setdefault(module, len(self._order))

        with torch.no_grad(), watching(model.modules(), record):
            outputs = real_maps(forward(example))
        if not outputs:
            raise ValueError('the traced part returns no tensor of real numbers')
        self.probes = nn.ModuleList(
            nn.Conv2d(out.shape[1], 1, 1) if out.dim() == 4 else nn.Linear(out.shape[-1], 1) for out in outputs
        ).to(outputs[0])

    def execution_order(self) -> dict[nn.Module, int]:
        """Rank of every module that ran, in the order in which they (first) finished."""
        return dict(self._order)

    def train(self, mode: bool = True) -> TracedModel:
        """Do nothing: the mode is :func:`tracing_mode`'s affair, and hosts re-freeze parameters here."""
        return self

    def forward(self, example: Example) -> list[Tensor]:
        """The probes' views of all outputs."""
        outputs = real_maps(self._forward(example))
        return [probe(out) for probe, out in zip(self.probes, outputs)]
