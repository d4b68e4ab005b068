"""Latency of networks and of the part of them that is pruned, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from mmprune.errors import ConfigError
from mmprune.graph.group import ChannelGroup
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import Example, tracing_mode, watching
from mmprune.graph.verify import slice_groups
from mmprune.measure.stopwatch import Stopwatch, elapsed_ms, in_turn, threads
from mmprune.options import Count, wrong_argument
from mmprune.surgery.plain import copy_of

#: Widths that are no multiple of this are slow in onnxruntime and on tensor cores.
FAST_MULTIPLE = 8


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call: median, 5th and 95th percentile over ``runs`` calls."""

    p5_ms: float
    p50_ms: float
    p95_ms: float
    runs: int

    @classmethod
    def of(cls, times_ms: Sequence[float]) -> Latency:
        """Percentiles of the times of single calls."""
        low, median, high = np.percentile(times_ms, (5, 50, 95)).round(3).tolist()
        return cls(low, median, high, len(times_ms))


@torch.no_grad()
def measure_latency(
    candidates: Mapping[str, Callable[[], object]], runs: int = 30, warmup: int = 3
) -> dict[str, Latency]:
    """Time several calls in turn.

    Args:
        candidates: What to call, by name.
        runs: Counted calls of each.
        warmup: Calls of each before counting.
    """
    times = in_turn({name: partial(elapsed_ms, call) for name, call in candidates.items()}, runs, warmup)
    return {name: Latency.of(values) for name, values in times.items()}


def ratio(latencies: Mapping[str, Latency], slow: str, fast: str) -> float:
    """Speed-up of ``fast`` over ``slow``, by medians."""
    return latencies[slow].p50_ms / latencies[fast].p50_ms


def time_inside(scope: Scope, example: Example) -> float:
    """Milliseconds that one forward pass spends inside the targets."""
    with watch_modules(scope.model, scope.targets) as inside:
        whole_ms = elapsed_ms(lambda: scope.forward(example))
    return inside.spent_ms or whole_ms  # a model whose methods are called one by one has no forward of its own


@contextmanager
def watch_modules(model: nn.Module, names: Iterable[str]) -> Iterator[Stopwatch]:
    """A stopwatch that runs while one of the named modules does, none of them inside another."""
    watch = Stopwatch()
    modules = [model.get_submodule(name) for name in names]
    with watching(modules, lambda *_: watch.start(), before=True), watching(modules, lambda *_: watch.stop()):
        yield watch


@dataclass
class LatencyModel:
    """Share of the targets' time that any choice of widths leaves, measured on the user's device.

    The dense network and the sliced one run in turn; only the time spent inside the targets counts, whatever else the
    forward pass holds.

    Attributes:
        scope: The network as it is; it is sliced for every measurement and put back.
        groups: Its groups.
        shape: Shape (N, C, H, W) of the input; None: the scope's example.
        threads: Threads that torch may use; None: as it is.
        runs: Counted runs of each network per measurement.
    """

    scope: Scope
    groups: Sequence[ChannelGroup]
    shape: Sequence[Count] | None = None
    threads: Count | None = None
    runs: Count = 9
    total: dict[str, float] = field(default_factory=lambda: {'latency': 1.0}, init=False)
    _known: dict[tuple[int, ...], float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if reason := wrong_argument(LatencyModel, dict(shape=self.shape, threads=self.threads, runs=self.runs)):
            raise ConfigError(f'target.{reason}')
        dense = copy_of(self.scope.model)
        example = self.scope.probe_input()
        if self.shape is not None:
            if not isinstance(example, Tensor) or len(self.shape) != example.dim():
                raise ConfigError(
                    'target.shape: this network runs on '
                    f'{tuple(getattr(example, "shape", ()))}, got {tuple(self.shape)}'
                )
            example = torch.randn(*self.shape, generator=torch.Generator().manual_seed(0)).to(example)
        self._dense, self._example = Scope(dense, example, self.scope.targets), example

    def remaining(self, counts: Mapping[str, int]) -> dict[str, float]:
        """``{'latency': share}`` of the dense network's median time when the named groups have so many units."""
        key = tuple(min(group.width, counts.get(group.name, group.width)) for group in self.groups)
        if key not in self._known:
            keeps = {group.name: torch.arange(count) for group, count in zip(self.groups, key) if count < group.width}
            self._known[key] = self._measure(keeps) if keeps else 1.0
        return {'latency': self._known[key]}

    def _measure(self, keeps: Mapping[str, Tensor]) -> float:
        model = self.scope.model
        timers = {
            'dense': partial(time_inside, self._dense, self._example),
            'sliced': partial(time_inside, self.scope, self._example),
        }
        undo = slice_groups(model, self.groups, keeps)
        try:
            with threads(self.threads), tracing_mode(model), tracing_mode(self._dense.model), torch.no_grad():
                times = in_turn(timers, self.runs, warmup=2)
        finally:
            undo.take_back()
        return float(np.median(times['sliced']) / np.median(times['dense']))
