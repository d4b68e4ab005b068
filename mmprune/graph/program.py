"""A network as the program that it is: how it is called, and what can be worked on at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmprune.errors import ConfigError
from mmprune.graph.tracing import Example, flatten_tensors, map_tensors


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP, ``torch.compile`` and the like."""
    while isinstance(model, nn.Module):
        if '_orig_mod' in dict(model.named_children()):
            model = model.get_submodule('_orig_mod')
        elif is_model_wrapper(model):
            model = model.module
        else:
            break
    return model


def refuse_unworkable(model: nn.Module) -> None:
    """Refuse what holds no weights that could be read and cut.

    Raises:
        ConfigError: The model is scripted, has no parameters, or some are lazy, on the meta device, or made in
            inference mode; the message says what would be right.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f'model: an nn.Module, got {type(model).__name__}')
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ConfigError(
                f'model: {name or type(model).__name__} is a ScriptModule (TorchScript, scripted or traced), whose '
                'layers cannot be cut; prune the nn.Module first, then script or trace it'
            )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ConfigError(
                f'model: {name} is lazy and not initialised; run the network once on an input before pruning it'
            )
        if tensor.is_meta:
            raise ConfigError(
                f'model: {name} is on the meta device and has no values; build the network on a real device, or call '
                'model.to_empty(device=…), and load its weights before pruning'
            )
        if tensor.is_inference():
            raise ConfigError(
                f'model: {name} was made under torch.inference_mode() and cannot be changed; build or load the '
                'network outside of it'
            )
    if next(model.parameters(), None) is None:
        raise ConfigError(f'model: {type(model).__name__} has no parameters, there is nothing to prune')


def example_like(example: Example, model: nn.Module) -> Example:
    """The example where the network is: on its device, real numbers in its precision, as ordinary tensors."""
    parameters = list(model.parameters())
    real = next((parameter for parameter in parameters if parameter.is_floating_point()), parameters[0])

    def move(x: Tensor) -> Tensor:
        x = x.clone() if x.is_inference() else x.detach()
        return x.to(real) if x.is_floating_point() and real.is_floating_point() else x.to(real.device)

    return map_tensors(move, example)


class Call:
    """Calls a module with an example of its input.

    A tensor, a list or any other object is the one argument; a tuple holds the positional arguments, a dict the
    keyword arguments. If the module cannot be called so, but in another way that the same example could be meant (a
    list of positional arguments, a dict that is the argument itself), it is called in that way from then on.
    """

    def __init__(self, model: nn.Module) -> None:
        """Call ``model``, with the default device of now: what is made in a forward pass belongs there."""
        self._model, self._device = model, torch.get_default_device()
        self._reading: int | None = None
        self._written: set[tuple[nn.Module, str]] | None = None
        self._overwrites = True

    def __call__(self, example: Example) -> object:
        """The module's outputs for an example; buffers and inputs that it writes to are as before afterwards."""
        given = map_tensors(torch.clone, example) if self._overwrites else example
        with ExitStack() as stack:
            if self._device.type not in ('cpu', 'meta'):
                stack.enter_context(torch.device(self._device))
            if self._written is None:
                stack.enter_context(self._finding_out(example, given))
                return self._call(example)
            stack.enter_context(_held(self._written))
            return self._call(given)

    @contextmanager
    def _finding_out(self, example: Example, copy: Example) -> Iterator[None]:
        """Note what a forward pass writes to, and put it back."""
        inputs = list(zip(flatten_tensors(example), flatten_tensors(copy)))
        versions = [tensor._version for tensor, _ in inputs]
        buffers = {
            (module, name): (tensor, tensor._version)
            for module in self._model.modules()
            for name, tensor in module.named_buffers(recurse=False)
        }
        with _held(buffers):
            yield
            self._written = {
                (module, name)
                for (module, name), (tensor, version) in buffers.items()
                if getattr(module, name) is not tensor or tensor._version != version
            }
        changed = [pair for pair, version in zip(inputs, versions) if pair[0]._version != version]
        self._overwrites = bool(changed)
        with torch.no_grad():
            for tensor, value in changed:
                tensor.copy_(value)

    def _call(self, example: Example) -> object:
        readings = list(self._readings(example))
        if len(readings) == 1 or self._reading is not None:
            return readings[min(self._reading or 0, len(readings) - 1)]()
        first: Exception | None = None
        for number, read in enumerate(readings):
            try:
                outputs = read()
            except Exception as error:  # whatever a network raises for arguments that it does not know
                first = first or error
            else:
                self._reading = number
                return outputs
        assert first is not None
        raise first

    def _readings(self, example: Any) -> Iterator[Callable[[], object]]:
        model = self._model
        if isinstance(example, Mapping):
            if all(isinstance(key, str) for key in example):
                yield lambda: model(**example)
            yield lambda: model(example)
        elif isinstance(example, tuple):
            yield lambda: model(*example)
            if hasattr(example, '_fields'):
                yield lambda: model(example)
            elif example and isinstance(example[-1], dict) and all(isinstance(key, str) for key in example[-1]):
                yield lambda: model(*example[:-1], **example[-1])
        else:
            yield lambda: model(example)
            if isinstance(example, list):
                yield lambda: model(*example)


@contextmanager
def _held(buffers: Iterable[tuple[nn.Module, str]]) -> Iterator[None]:
    """Buffers as they are, the same tensors with the same values, after the context, too."""
    before = [(module, name, tensor := getattr(module, name), tensor.clone()) for module, name in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, tensor, value in before:
                if getattr(module, name) is not tensor:
                    setattr(module, name, tensor)
                if tensor.shape == value.shape and not torch.equal(tensor, value):
                    tensor.copy_(value)
