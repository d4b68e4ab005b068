"""The cause for which a channel group cannot be cut: what happened to its channels on the way to their readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmprune.graph.group import ChannelGroup, Member
from mmprune.graph.tracing import watching

#: Relative difference beyond which two values are not the same up to rounding.
DIFFERENT = 1e-3

#: Units that are changed one by one to see what becomes of them.
MOST_SHAKEN = 8

#: What a reader got and gave; the second is missing where the run failed in between.
Seen = tuple[Tensor, Tensor | None]
#: Runs the network once; dense with its readers masked, or sliced.
Run = Callable[[], list[Tensor]]


def channels_axis(module: nn.Module, x: Tensor) -> int:
    """The axis of a layer's input or output that holds its channels."""
    spatial = 0 if isinstance(module, nn.Linear) else len(module.kernel_size)
    return x.dim() - 1 - spatial


class Cause:
    """Finds the true reason why the sliced network is another one, by running both and looking at the readers."""

    def __init__(self, model: nn.Module, group: ChannelGroup, keep: Tensor, dense: Run, sliced: Run) -> None:
        """Say what to run.

        Args:
            model: Owns the group.
            group: The only one that is cut.
            keep: Its kept units, sorted.
            dense: Runs the dense network with masked readers.
            sliced: Cuts, runs, and takes it back; may fail.
        """
        self._model, self._group, self._keep = model, group, keep
        self._dense, self._sliced = dense, sliced
        self._names = {module: name for name, module in model.named_modules()}

    def reason(self, problem: str) -> str:
        """One line: the cause, or that the coupling is wrong.

        Args:
            problem: What was seen at the outputs.
        """
        try:
            (expected, first), (again, second) = (self._seen(self._dense) for _ in range(2))
        except Exception as error:
            return f'the network does not run with its channels masked ({_first_line(error)})'
        pairs = [*zip(first, second), *((expected[module][1], again[module][1]) for module in expected)]
        if any(_differ(a, b) for a, b in pairs):
            return 'the network computes something else at every run'
        failure, inside = None, ''
        got: dict[nn.Module, Seen] = {}
        with self._whereabouts() as stack:
            try:
                self._seen(self._sliced, got)
            except Exception as error:
                failure = error
                inside = next((self._names[m] for m in reversed(stack) if self._names.get(m)), '')
        for member in self._group.readers:
            if member.module in expected and member.module in got:
                reason = self._at(member, expected, got)
                if reason:
                    return f'{reason} ({problem})' if reason.startswith('the traced') else reason
        if failure is not None:
            who = f'{inside} ({type(self._model.get_submodule(inside)).__name__})' if inside else 'the network'
            return f'{who} does not run with fewer channels: {_first_line(failure)}'
        return f'its channels reach the outputs past the layers that read them ({problem})'

    def _at(self, member: Member, expected: dict, got: dict) -> str:
        """The fault at one reader; empty if it sees and gives what it should."""
        module, (whole, output), (left, result) = member.module, expected[member.module], got[member.module]
        axis = channels_axis(module, whole)
        gone = member.removed_channels(self._keep)
        kept = torch.ones(whole.shape[axis], dtype=torch.bool).index_fill_(0, gone, False)
        whole = whole.index_select(axis, torch.nonzero(kept)[:, 0].to(whole.device))
        if _differ(whole, left):
            return self._on_the_way(member, kept)
        if output is not None and result is not None and _differ(output, result):
            return f'{member.name} ({type(module).__name__}) does not read its channels one by one'
        return ''

    def _on_the_way(self, member: Member, kept: Tensor) -> str:
        """The fault between producers and a reader: which of its channels change with one that goes?"""
        before = self._seen(self._dense)[0][member.module][0]
        axis = channels_axis(member.module, before)
        for unit in sorted(set(range(self._group.width)) - set(self._keep.tolist()))[:MOST_SHAKEN]:
            with self._shaken(unit):
                after = self._seen(self._dense)[0][member.module][0]
            changed = (before != after).movedim(axis, 0).flatten(1).any(dim=1).cpu()
            if (changed & kept).any():
                if changed[member.channels[member.units == unit]].any():
                    return f'its channels are mixed on the way to {member.name}'
                return f'the traced coupling is wrong: they reach other channels of {member.name} than was traced'
        return f'what {member.name} reads depends on the number of channels'

    @contextmanager
    def _shaken(self, unit: int) -> Iterator[None]:
        """One unit's channels changed where they are made."""
        makers = {m.module: m.channels[m.units == unit] for m in self._group.producers}

        def shake(module: nn.Module, args: object, output: Tensor) -> Tensor:
            shaken, channels = output.detach().clone(), makers[module].to(output.device)
            axis = channels_axis(module, shaken)
            return shaken.index_copy_(axis, channels, 1 - 2 * shaken.index_select(axis, channels))

        with watching(list(makers), shake):
            yield

    def _seen(self, run: Run, seen: dict | None = None) -> tuple[dict[nn.Module, Seen], list[Tensor]]:
        """First input and output of every reader in a run, before any mask; and the outputs of the network."""
        seen = {} if seen is None else seen
        readers = [member.module for member in self._group.readers]

        def arrive(module: nn.Module, args: tuple) -> None:
            if args and isinstance(args[0], Tensor):
                seen.setdefault(module, (args[0].detach().clone(), None))

        def leave(module: nn.Module, args: tuple, output: object) -> None:
            if module in seen and seen[module][1] is None and isinstance(output, Tensor):
                seen[module] = (seen[module][0], output.detach().clone())

        with watching(readers, arrive, before=True), watching(readers, leave):
            outputs = run()
        return seen, outputs

    @contextmanager
    def _whereabouts(self) -> Iterator[list[nn.Module]]:
        """The modules whose forward is running, outermost first; what failed stays on the list."""
        stack: list[nn.Module] = []

        def enter(module: nn.Module, args: object) -> None:
            stack.append(module)

        def leave(module: nn.Module, args: object, output: object) -> None:
            stack.pop()

        modules = list(self._model.modules())
        with watching(modules, enter, before=True), watching(modules, leave):
            yield stack


def _differ(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is not b
    if a.shape != b.shape:
        return True
    if not a.numel():
        return False
    scale = a.abs().max().clamp_min(torch.finfo(a.dtype).tiny)
    return not bool((a - b).abs().max() <= DIFFERENT * scale)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
