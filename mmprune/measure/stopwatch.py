"""The stopwatch that everything timed here goes by: one process, the device waited for, candidates in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

import torch


class Stopwatch:
    """Wall-clock time between starts and stops, added up; work queued on a GPU is waited for at both."""

    def __init__(self) -> None:
        self.spent_ms = 0.0
        self._started = 0.0

    def start(self) -> None:
        """Wait for the device and begin to count."""
        _synchronize()
        self._started = perf_counter()

    def stop(self) -> None:
        """Wait for the device and add what has passed since the start."""
        _synchronize()
        self.spent_ms += self.running_ms()

    def running_ms(self) -> float:
        """Milliseconds since the start; the watch runs on."""
        return 1e3 * (perf_counter() - self._started)


def elapsed_ms(call: Callable[[], object]) -> float:
    """Milliseconds that one call takes."""
    watch = Stopwatch()
    watch.start()
    call()
    watch.stop()
    return watch.spent_ms


def in_turn(timers: Mapping[str, Callable[[], float]], runs: int, warmup: int = 0) -> dict[str, list[float]]:
    """Measurements taken alternately, so that a machine whose speed drifts treats all candidates alike.

    Args:
        timers: Each makes one measurement, in ms, by name.
        runs: Measurements of each.
        warmup: Measurements of each before them, which are dropped.

    Returns:
        ``runs`` numbers for every name; those at one position were taken right after each other.
    """
    if runs < 1:
        raise ValueError(f'runs: at least 1, got {runs}')
    times: dict[str, list[float]] = {name: [] for name in timers}
    for turn in range(warmup + runs):
        for name, timer in timers.items():
            spent = timer()
            if turn >= warmup:
                times[name].append(spent)
    return times


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch with so many threads (None: as it is)."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
