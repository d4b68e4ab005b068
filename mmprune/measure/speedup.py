"""Speed-up by a cut inside the targets: measured in pairs of runs, and doubted only where that is certain."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import binom

from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.measure.latency import FAST_MULTIPLE, time_inside, watch_modules
from mmprune.measure.stopwatch import Stopwatch, elapsed_ms

#: Pairs of runs: fewer than 6 decide nothing, and more than 20 add little.
FEWEST_PAIRS, MOST_PAIRS = 6, 20
#: A cut that saves a third of the time is not slow, whatever its FLOPs: it needs no certainty.
SURELY_FAST = 2 / 3
#: How many times the given seconds may pass until a cut that looks slow has been run often enough.
PATIENCE = 10


@dataclass
class CutTimes:
    """Times of one network before and after a cut, in turn.

    Attributes:
        before: Milliseconds before the cut.
        after: Milliseconds after it; those at one position ran right after each other.
    """

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    @property
    def before_ms(self) -> float:
        """Median before the cut."""
        return float(np.median(self.before))

    @property
    def ratio(self) -> float:
        """Share of the time that is left: the median of the pairs' quotients, which a drift of the machine spares."""
        return float(np.median(self._quotients()))

    @property
    def surely_left(self) -> float:
        """Share of the time that is left at the least; 0 where too few pairs, or too different ones, tell it.

        The lower end of the 95 % confidence interval of the median quotient (order statistics: no distribution is
        assumed), or the quotient of the quickest runs where that is smaller: what else runs on the machine only makes
        a run longer, and may do so to one side more often.
        """
        rank = int(binom.ppf(0.025, len(self.before), 0.5))
        if rank < 1:
            return 0.0
        return min(self._quotients()[rank - 1], min(self.after) / min(self.before))

    def _quotients(self) -> list[float]:
        return sorted(after / before for before, after in zip(self.before, self.after))


def time_cut(scope: Scope, trial: Callable[[], AbstractContextManager], seconds: float) -> CutTimes:
    """Time inside the targets before and after a cut that can be taken back.

    Args:
        scope: The network before the cut.
        trial: Cuts it for as long as the context lasts.
        seconds: No new pair begins after so long; ten times that where the cut looks slow and few pairs have run.
    """
    example, times, watch = scope.probe_input(), CutTimes(), Stopwatch()
    watch.start()
    with tracing_mode(scope.model), torch.no_grad():
        while not _is_enough(times, watch.running_ms(), 1e3 * seconds):
            for context, taken in ((nullcontext, times.before), (trial, times.after)):
                with context():  # twice: the first run may choose kernels anew for new widths
                    taken.append(min(time_inside(scope, example) for _ in range(2)))
    return times


def _is_enough(times: CutTimes, spent_ms: float, wanted_ms: float) -> bool:
    pairs = len(times.after)
    if not pairs or spent_ms < wanted_ms:
        return pairs >= MOST_PAIRS
    return pairs >= FEWEST_PAIRS or times.ratio <= SURELY_FAST or spent_ms >= PATIENCE * wanted_ms


def is_slow(flops_left: float, time_left: float) -> bool:
    """True if a cut saves less than a third of the time that its FLOPs promise (of FLOPs worth speaking of)."""
    return flops_left < 0.95 and 1 - time_left < (1 - flops_left) / 3


def why_slow(scope: Scope, layers: Collection[str], widths: Sequence[tuple[int, int]]) -> str:
    """The likeliest reason why a network that lost FLOPs is hardly faster, and what would help.

    Args:
        scope: The network; where it spends its time is measured.
        layers: Names of the modules that lost channels.
        widths: Width before and after of every group that lost channels.
    """
    untouched = 1 - share_inside(scope, layers)
    if untouched > 0.5:
        return f'{untouched:.0%} of its time is spent outside the layers that were cut'
    odd = sum(after % FAST_MULTIPLE > 0 and before % FAST_MULTIPLE == 0 for before, after in widths)
    if odd:
        return (
            f'{odd} of {len(widths)} new widths are no multiple of {FAST_MULTIPLE}; '
            f'set pruner.round_to={FAST_MULTIPLE} or 16'
        )
    return (
        'the layers that were cut wait for memory or for being started, not for arithmetic; it may be faster on '
        'larger inputs (pruning.input_shape) or with fewer layers'
    )


def share_inside(scope: Scope, layers: Collection[str], runs: int = 5) -> float:
    """Share of the targets' time that is spent in the named modules: median, both taken in the same forward pass."""
    example, shares = scope.probe_input(), []
    with tracing_mode(scope.model), torch.no_grad():
        elapsed_ms(lambda: scope.forward(example))
        for _ in range(runs):
            with watch_modules(scope.model, layers) as part:
                whole_ms = time_inside(scope, example)
            shares.append(part.spent_ms / whole_ms)
    return min(1.0, float(np.median(shares)))
