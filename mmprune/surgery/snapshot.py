"""A network as it is now, to come back to when something fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Attributes = dict[str, Any]


class Snapshot:
    """All modules, tensors and attributes of a network, by reference; values are copied where they may be overwritten.

    Where a cut only replaces tensors, references to the old ones are enough. Buffers are copied at once, they are
    small; parameters when :meth:`keep_values` is called, into the host's memory.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at a network; nothing in it changes."""
        self._modules = [(module, _shallow(module)) for module in model.modules()]
        parameters, buffers = list(model.parameters()), list(model.buffers())
        self._tensors = [
            (tensor, tensor.data, tensor.grad if tensor.is_leaf else None, tensor.requires_grad)
            for tensor in (*parameters, *buffers)
        ]
        self._values: dict[int, Tensor] = {}
        self._copy(buffers)

    def keep_values(self, tensors: Iterable[Tensor] | None = None) -> None:
        """Copy parameters that what comes now writes into; None: all of them."""
        self._copy((tensor for tensor, *_ in self._tensors) if tensors is None else tensors)

    def take_back(self) -> None:
        """Bring the network back: the same objects with the same values, in the same order."""
        for module, attributes in self._modules:
            mine = vars(module)
            mine.clear()
            for name, (value, content) in attributes.items():
                mine[name] = value
                if content is not None:
                    _refill(value, content)
        for tensor, data, gradient, wants_gradient in self._tensors:
            _point_to(tensor, data)
            tensor.requires_grad_(wants_gradient)
            if gradient is not None or tensor.grad is not None:
                tensor.grad = gradient
            if id(tensor) in self._values:
                _distinct(data).copy_(self._values[id(tensor)])

    def _copy(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            if id(tensor) not in self._values:
                self._values[id(tensor)] = _distinct(tensor.detach()).to('cpu', copy=True)


def _distinct(tensor: Tensor) -> Tensor:
    """A view in which no value of an expanded tensor stands twice: such tensors cannot be written to."""
    for axis, stride in enumerate(tensor.stride()) if tensor.layout == torch.strided else ():
        if stride == 0 and tensor.shape[axis] > 1:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _shallow(module: nn.Module) -> Attributes:
    """A module's attributes, and what those hold that are containers (its parameters, buffers, hooks, lists)."""
    return {name: (value, _content(value)) for name, value in vars(module).items()}


def _content(value: Any) -> dict | set | list | None:
    for kind in (dict, set, list):
        if isinstance(value, kind):
            return kind(value)
    return None


def _refill(container: dict | set | list, content: dict | set | list) -> None:
    if isinstance(container, list):
        container[:] = content
        return
    container.clear()
    container.update(content)


def _point_to(tensor: Tensor, data: Tensor) -> None:
    if tensor.shape != data.shape:
        # Autograd remembers a parameter's shape as long as any graph lives; a change of dtype makes it forget.
        tensor.grad = None
        tensor.data = data.new_empty(0, dtype=torch.half if data.dtype == torch.float else torch.float)
    tensor.data = data
