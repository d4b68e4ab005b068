"""Running a part of a model so that every channel in it can be followed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmprune.errors import ConfigError
from mmprune.graph.environment import neutral_surroundings
from mmprune.surgery.plain import results_held

#: One batch of input: a tensor, positional arguments, or keyword arguments.
Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
#: A call that runs (a part of) a network on such a batch; its tensors may be nested in containers of any kind.
Forward = Callable[[Example], Any]

#: Objects that are never looked into, though they have attributes.
OPAQUE = (Tensor, nn.Module, type, ModuleType, FunctionType, MethodType, torch.dtype, torch.device, torch.Generator)


def _inside(value: object) -> list[object]:
    """The items of a container: of a mapping, a sequence, a data class, any pytree, any object with attributes."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (tuple, list)):
        return list(value)
    if type(value) in pytree.SUPPORTED_NODES:
        return list(pytree.SUPPORTED_NODES[type(value)].flatten_fn(value)[0])
    return [] if isinstance(value, OPAQUE) else list(_attributes(value).values())


def _attributes(value: object) -> dict[str, object]:
    names = [
        *getattr(value, '__dict__', ()),
        *(field.name for field in (fields(value) if is_dataclass(value) else ())),
    ]
    return {name: getattr(value, name) for name in dict.fromkeys(names) if hasattr(value, name)}


def flatten_tensors(outputs: object) -> list[Tensor]:
    """All tensors in nested containers, in order; an object that holds itself is looked into once."""
    return list(_tensors_in(outputs, []))


def _tensors_in(value: object, path: list[int]) -> Iterator[Tensor]:
    # no function inside a function: one that calls itself is a cycle, which holds the tensors until it is collected
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in path:
        path.append(id(value))
        for item in _inside(value):
            yield from _tensors_in(item, path)
        path.pop()


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A function applied to every tensor in nested containers, which stay what they are; other values as they are."""
    if isinstance(value, Tensor):
        return function(value)
    if not flatten_tensors(value):
        return value
    if isinstance(value, MutableMapping):
        mapped = copy.copy(value)  # of its own class, with what else that holds
        mapped.update((key, map_tensors(function, item)) for key, item in value.items())
        return mapped
    if isinstance(value, (tuple, list)):
        items = [map_tensors(function, item) for item in value]
        return type(value)(*items) if hasattr(value, '_fields') else type(value)(items)
    if type(value) in pytree.SUPPORTED_NODES:
        node = pytree.SUPPORTED_NODES[type(value)]
        items, context = node.flatten_fn(value)
        return node.unflatten_fn([map_tensors(function, item) for item in items], context)
    mapped = copy.copy(value)
    for name, item in _attributes(value).items():
        if flatten_tensors(item):
            object.__setattr__(mapped, name, map_tensors(function, item))
    return mapped


def real_maps(outputs: object) -> list[Tensor]:
    """Those of :func:`flatten_tensors` that can hold channels: real numbers, at least two axes."""
    return [
        tensor
        for tensor in flatten_tensors(outputs)
        if tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() and tensor.layout == torch.strided
    ]


def is_finite(outputs: object) -> bool:
    """All real numbers in nested containers are numbers."""
    return all(bool(torch.isfinite(out).all()) for out in flatten_tensors(outputs) if out.is_floating_point())


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
    """Eval mode in :func:`~mmprune.graph.environment.neutral_surroundings`, every parameter wanting a gradient.

    What runs a network runs it in here, so that nothing depends on the state that it was given in; modes, flags and
    surroundings are put back exactly on exit. mmdet's ``frozen_stages`` would otherwise hide the stem and the first
    stage from a trace by autograd, and ``with_cp`` would hide whole blocks.
    """
    training = {module: module.training for module in model.modules()}
    wanted = {p: p.requires_grad for p in model.parameters() if p.is_floating_point() or p.is_complex()}
    checkpointed = [module for module in model.modules() if getattr(module, 'with_cp', False) is True]
    with neutral_surroundings(model), results_held(model):
        try:
            for module in training:
                module.training = False
            for module in checkpointed:
                module.with_cp = False
            for parameter in wanted:
                parameter.requires_grad_(True)
            yield
        finally:
            for module, mode in training.items():
                module.training = mode
            for module in checkpointed:
                module.with_cp = True
            for parameter, flag in wanted.items():
                parameter.requires_grad_(flag)


class Following(TorchFunctionMode):
    """Lets autograd follow what a network detaches or does without gradients: channels go that way all the same."""

    def __torch_function__(
        self, func: Callable, types: Iterable[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Hand tensors through where they would be detached; leave gradients on."""
        if func in (torch.detach, Tensor.detach, Tensor.data.__get__):  # type: ignore[attr-defined]
            return args[0]
        if func.__name__ == '_set_grad_enabled':
            return None
        return func(*args, **(kwargs or {}))


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
            outputs = flatten_tensors(forward(example))
        if not any(out.is_floating_point() or out.is_complex() for out in outputs):
            raise ConfigError(
                'example_input: the network returns no tensor of real numbers for it, so its channels cannot be '
                'followed; let it return its scores, too'
            )
        outputs = real_maps(outputs)
        self.probes = nn.ModuleList(
            (nn.Conv2d(out.shape[1], 1, 1) if out.dim() == 4 else nn.Linear(out.shape[-1], 1)).to(out)
            for out in outputs
        )

    def execution_order(self) -> dict[nn.Module, int]:
        """Rank of every module that ran, in the order in which they (first) finished."""
        return dict(self._order)

    def train(self, mode: bool = True) -> TracedModel:
        """Do nothing: the mode is :func:`tracing_mode`'s affair, and hosts re-freeze parameters here."""
        return self

    def forward(self, example: Example) -> list[Tensor]:
        """The probes' views of all outputs that can hold channels, and those others that autograd knows."""
        try:
            with Following():
                outputs = flatten_tensors(self._forward(example))
        except RuntimeError:  # what writes to its weights in a forward pass cannot be followed so
            outputs = flatten_tensors(self._forward(example))
        if any(out.is_inference() for out in outputs):
            raise ConfigError(
                'model: its forward runs under torch.inference_mode(), where its channels cannot be followed; use '
                'torch.no_grad() there'
            )
        probed = {id(out) for out in real_maps(outputs)}
        return [
            *(probe(out) for probe, out in zip(self.probes, real_maps(outputs))),
            *(out for out in outputs if id(out) not in probed and out.numel() and out.grad_fn is not None),
        ]
