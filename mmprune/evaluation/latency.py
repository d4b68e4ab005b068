"""Wall-clock time of networks on this machine, fairly: warm-up, one process, in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call: median, 5th and 95th percentile over ``runs`` calls."""

    p5_ms: float
    p50_ms: float
    p95_ms: float
    runs: int


def measure_latency(candidates: Mapping[str, Callable[[], object]], runs: int = 30,
                    warmup: int = 3) -> dict[str, Latency]:
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
    return {name: Latency(*(round(float(q), 3) for q in np.percentile(values, (5, 50, 95))), runs)
            for name, values in times.items()}


def ratio(latencies: Mapping[str, Latency], slow: str, fast: str) -> float:
    """How many times faster ``fast`` is, by medians."""
    return latencies[slow].p50_ms / latencies[fast].p50_ms


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
