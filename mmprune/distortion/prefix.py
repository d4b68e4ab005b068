"""Running a network again from one of its layers on: what comes before is not computed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmprune.graph.tracing import Example, Forward, flatten_tensors, map_tensors


@dataclass
class _Call:
    """One call of a module in a forward pass.

    Attributes:
        module: What is called.
        end: Number of the first call that is not inside this one.
        parent: Number of the call that this one is inside of, or -1.
        is_overwritten: Whether something later changes the output in place.
    """

    module: nn.Module
    end: int
    parent: int
    is_overwritten: bool = False


class PrefixReplay:
    """Replays a forward pass from the first call of a layer on, whatever the network looks like.

    A module call that is over when the layer starts cannot have seen the layer's weights: its output is kept and
    handed out again, and nothing inside of it runs. Calls are numbered in the order in which they begin; one is over
    when call ``k`` begins if it ends at ``k`` at the latest, so every block, branch or concatenation before the layer
    falls under the same rule. What runs again computes exactly what it did before.

    Example:
        >>> with PrefixReplay(model, model, images[:1]).installed() as prefix:
        ...     before = prefix.record(model.layer4[0].conv2, images)
        ...     model.layer4[0].conv2.weight.data.zero_()
        ...     after = prefix.replay(images)
    """

    def __init__(self, model: nn.Module, forward: Forward, example: Example) -> None:
        """Find the calls, by one forward pass on the example.

        Args:
            model: The network, in eval mode.
            forward: Runs it (or the part of it that counts) on a batch.
            example: A batch of any size.
        """
        self._forward = forward
        self._modules = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
        self._calls: list[_Call] = []
        self._open: list[int] = []
        self._watched: list[tuple[int, Tensor, int]] = []
        self._number = 0
        self._wanted: frozenset[int] = frozenset()
        self._kept: dict[int, Any] = {}
        self._profile(example)
        self._first: dict[nn.Module, int] = {}
        for number, call in enumerate(self._calls):
            self._first.setdefault(call.module, number)

    def order(self, module: nn.Module) -> int | None:
        """Number of the first call of a module, or None if it does not run."""
        return self._first.get(module)

    @contextmanager
    def installed(self) -> Iterator[PrefixReplay]:
        """The network with its modules under control, for as long as the context lasts."""
        with self._intercepting(self._call):
            try:
                yield self
            finally:
                self._kept.clear()

    def record(self, module: nn.Module, batch: Example) -> list[Tensor]:
        """Run everything once and keep what is needed to start again at ``module``; returns all output tensors."""
        start = self._first[module]
        self._kept.clear()
        self._wanted = frozenset(
            number
            for number, call in enumerate(self._calls[:start])
            if call.end <= start and (call.parent < 0 or self._calls[call.parent].end > start)
        )
        outputs = self._run(batch)
        self._wanted = frozenset()
        return outputs

    def replay(self, batch: Example) -> list[Tensor]:
        """The outputs for the batch that was recorded, with the weights as they are now from that layer on."""
        return self._run(batch)

    @torch.no_grad()
    def _run(self, batch: Example) -> list[Tensor]:
        self._number = 0
        outputs = flatten_tensors(self._forward(batch))
        if self._number != len(self._calls):
            self._refuse()
        return outputs

    @torch.no_grad()
    def _profile(self, example: Example) -> None:
        """Find out the calls, and which outputs are overwritten by what follows (``out += identity``)."""
        with self._intercepting(self._note):
            self._forward(example)
        for number, tensor, version in self._watched:
            self._calls[number].is_overwritten |= tensor._version != version
        self._watched.clear()

    def _note(self, module: nn.Module, original: Callable, *args: Any, **kwargs: Any) -> Any:
        number = len(self._calls)
        self._calls.append(_Call(module, -1, self._open[-1] if self._open else -1))
        self._open.append(number)
        output = original(*args, **kwargs)
        self._open.pop()
        self._calls[number].end = len(self._calls)
        self._watched += [(number, tensor, tensor._version) for tensor in flatten_tensors(output)]
        return output

    def _call(self, module: nn.Module, original: Callable, *args: Any, **kwargs: Any) -> Any:
        number = self._number
        if number >= len(self._calls) or self._calls[number].module is not module:
            self._refuse()
        call = self._calls[number]
        if number in self._kept:
            self._number = call.end
            kept = self._kept[number]
            return map_tensors(torch.clone, kept) if call.is_overwritten else kept
        self._number += 1
        output = original(*args, **kwargs)
        if number in self._wanted:
            self._kept[number] = map_tensors(torch.clone, output) if call.is_overwritten else output
        return output

    @contextmanager
    def _intercepting(self, handler: Callable) -> Iterator[None]:
        try:
            for module in self._modules:
                original = module.forward
                module.__dict__['_forward_before_replay'] = module.__dict__.get('forward')
                module.__dict__['forward'] = _bind(handler, module, original)
            yield
        finally:
            for module in self._modules:
                if '_forward_before_replay' in module.__dict__:
                    own = module.__dict__.pop('_forward_before_replay')
                    module.__dict__.pop('forward') if own is None else module.__dict__.update(forward=own)

    def _refuse(self) -> None:
        raise RuntimeError('this network calls other modules for another batch: its forward pass cannot be replayed')


def _bind(handler: Callable, module: nn.Module, original: Callable) -> Callable:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return handler(module, original, *args, **kwargs)

    return forward
