"""Wall-clock time of networks on this machine, fairly: warm-up, one process, in turn."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from mmprune.errors import ConfigError
from mmprune.graph.group import ChannelGroup
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode, watching
from mmprune.graph.verify import slice_groups
from mmprune.report.report import LayerRow


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call: median, 5th and 95th percentile over ``runs`` calls."""

    p5_ms: float
    p50_ms: float
    p95_ms: float
    runs: int


def measure_latency(
    candidates: Mapping[str, Callable[[], object]], runs: int = 30, warmup: int = 3
) -> dict[str, Latency]:
    """Time several calls alternately, so that a machine whose speed drifts treats them alike.

    Args:
        candidates: What to call, by name.
        runs: Counted calls of each.
        warmup: Calls of each before counting.
    """
    if runs < 1:
        raise ValueError(f'runs: at least 1, got {runs}')
    times: dict[str, list[float]] = {name: [] for name in candidates}
    with torch.no_grad():
        for i in range(warmup + runs):
            for name, call in candidates.items():
                _synchronize()
                start = time.perf_counter()
                call()
                _synchronize()
                if i >= warmup:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: Latency(*(round(float(q), 3) for q in np.percentile(values, (5, 50, 95))), runs)
        for name, values in times.items()
    }


def ratio(latencies: Mapping[str, Latency], slow: str, fast: str) -> float:
    """How many times faster ``fast`` is, by medians."""
    return latencies[slow].p50_ms / latencies[fast].p50_ms


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch with so many threads (None: as it is)."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: Widths that are no multiple of this are slow in onnxruntime and on tensor cores.
FAST_MULTIPLE = 8


def time_cut(scope: Scope, trial: Callable[[], AbstractContextManager], seconds: float) -> tuple[float, float]:
    """Time inside the targets before and after a cut that can be taken back, in turn.

    Args:
        scope: The network before the cut.
        trial: Cuts it for as long as the context lasts.
        seconds: No new turn begins after so long.

    Returns:
        Median milliseconds before and after.
    """
    example, end = scope.probe_input(), time.perf_counter() + seconds
    times: dict[str, list[float]] = {'before': [], 'after': []}
    with tracing_mode(scope.model), torch.no_grad():
        while not times['after'] or (time.perf_counter() < end and len(times['after']) < 20):
            for name, context in (('before', nullcontext), ('after', trial)):
                with context():
                    _time_inside(scope, example)  # kernels are chosen anew for new widths
                    times[name] += [1e3 * _time_inside(scope, example) for _ in range(2)]
    return tuple(float(np.median(values)) for values in times.values())  # type: ignore[return-value]


def is_slow(flops_left: float, time_left: float) -> bool:
    """Whether a cut saves less than a third of the time that its FLOPs promise (of FLOPs worth speaking of)."""
    return flops_left < 0.95 and 1 - time_left < (1 - flops_left) / 3


def why_slow(scope: Scope, rows: Sequence[LayerRow]) -> str:
    """Why a network that lost FLOPs is hardly faster.

    Args:
        scope: The network; where it spends its time is measured.
        rows: What became of every group.
    """
    cut = [row for row in rows if row.after < row.before]
    untouched = 1 - _share_inside(scope, {name for row in cut for name in row.members})
    if untouched > 0.5:
        return f'{untouched:.0%} of its time is spent outside the layers that were cut'
    odd = [row for row in cut if row.after % FAST_MULTIPLE and not row.before % FAST_MULTIPLE]
    if odd:
        return (
            f'{len(odd)} of {len(cut)} new widths are no multiple of {FAST_MULTIPLE}; '
            f'set pruner.round_to={FAST_MULTIPLE} or 16'
        )
    return (
        'the layers that were cut wait for memory or for being started, not for arithmetic; it may be faster on '
        'larger inputs (pruning.input_shape) or with fewer layers'
    )


def _share_inside(scope: Scope, names: set[str]) -> float:
    """Share of the targets' time that is spent in the named modules, both taken in the same forward pass."""
    example = scope.probe_input()
    with tracing_mode(scope.model), torch.no_grad():
        scope.forward(example)
        with _stopwatch(scope, names) as part:
            whole = _time_inside(scope, example)
    return min(1.0, part[0] / whole)


@dataclass
class LatencyModel:
    """What share of the targets' time any choice of widths leaves, measured on the user's device.

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
    shape: Sequence[int] | None = None
    threads: int | None = None
    runs: int = 9
    total: dict[str, float] = field(default_factory=lambda: {'latency': 1.0}, init=False)
    _known: dict[tuple[int, ...], float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for key, value in (('threads', self.threads or 1), ('runs', self.runs)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f'pruner.allocator.target.{key}: a whole number of at least 1, got {value!r}')
        dense = copy.deepcopy(self.scope.model)
        example = self.scope.probe_input()
        if self.shape is not None:
            if not isinstance(example, torch.Tensor) or len(self.shape) != example.dim():
                raise ConfigError(
                    'pruner.allocator.target.shape: this network runs on '
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

    def _measure(self, keeps: Mapping[str, torch.Tensor]) -> float:
        model, times = self.scope.model, {}
        undo = slice_groups(model, self.groups, keeps)
        try:
            with threads(self.threads), tracing_mode(model), tracing_mode(self._dense.model), torch.no_grad():
                for turn in range(2 + self.runs):
                    for scope in (self._dense, self.scope):
                        spent = _time_inside(scope, self._example)
                        if turn >= 2:
                            times.setdefault(scope.model, []).append(spent)
        finally:
            undo.take_back()
        return float(np.median(times[model]) / np.median(times[self._dense.model]))


@contextmanager
def _stopwatch(scope: Scope, names: Iterable[str]) -> Iterator[list[float]]:
    """Seconds spent in the named modules, none inside another, while the context lasts: the one entry of a list."""
    started, spent = [0.0], [0.0]

    def start(module: nn.Module, args: object) -> None:
        _synchronize()
        started[0] = time.perf_counter()

    def stop(module: nn.Module, args: object, output: object) -> None:
        _synchronize()
        spent[0] += time.perf_counter() - started[0]

    modules = [scope.model.get_submodule(name) for name in names]
    with watching(modules, start, before=True), watching(modules, stop):
        yield spent


def _time_inside(scope: Scope, example: object) -> float:
    """Seconds that one forward pass spends inside the targets."""
    with _stopwatch(scope, scope.targets) as spent:
        begin = time.perf_counter()
        scope.forward(example)
        whole = time.perf_counter() - begin
    return spent[0] or whole  # a model whose methods are called one by one has no forward of its own


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
