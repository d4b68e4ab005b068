"""From a target (half of the FLOPs) to the ratio that meets it, and the units that still fit into the budget then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log2

import numpy as np

#: The largest ratio that is tried: everything that may go, goes.
LARGEST_RATIO = 1 - 2**-20


def search_ratio(evaluate: Callable[[float], float], target_share: float, tol: float = 1e-4) -> float:
    """The smallest ratio that leaves at most the target.

    Widths are whole numbers, so the share falls in steps as the ratio grows, and rounding may even let it rise by a
    step; bisection finds a step that meets the target, and a look at the ratios just below finds an earlier one.

    Args:
        evaluate: Measures the share of the FLOPs (or parameters, …) that remains at a ratio in [0, 1).
        target_share: Share that may remain, in (0, 1].
        tol: How exactly the ratio is found.

    Returns:
        A ratio at which ``evaluate`` does not exceed the target.

    Raises:
        ValueError: Even the largest ratio leaves more than the target.
    """
    if not 0 < target_share <= 1:
        raise ValueError(f'the share that may remain must be in (0, 1], got {target_share!r}')
    if not 0 < tol < 1:
        raise ValueError(f'tol must be in (0, 1), got {tol!r}')

    def is_met(ratio: float) -> bool:
        # Target shares such as 0.7 are not exact in binary: a share that is equal on paper must pass.
        return evaluate(ratio) <= target_share * (1 + 1e-12)

    if is_met(0.0):
        return 0.0
    if not is_met(LARGEST_RATIO):
        raise ValueError(
            f'a share of {target_share:g} cannot be reached; at least '
            f'{evaluate(LARGEST_RATIO):.4g} remains because of min_channels, kept groups and what lies outside the '
            'groups; raise the target, lower pruner.min_channels or shorten pruner.keep'
        )
    too_little, enough = 0.0, LARGEST_RATIO
    while enough - too_little > tol:
        middle = (too_little + enough) / 2
        if is_met(middle):
            enough = middle
        else:
            too_little = middle
    return min([enough] + [r for r in (enough - i * tol for i in range(1, 5)) if r > 0 and is_met(r)])


#: A budget counts as spent when so little of it, as a share of it, is left.
SPENT = 0.005
#: Budgets that end further below what was asked for than this share of it get a warning.
MISSED = 0.05
#: A group's units come back in at most so many steps at a time.
STEPS = 16

Counts = dict[str, int]


@dataclass(frozen=True)
class Budget:
    """A limit on a quantity, and the use made of it.

    Attributes:
        quantity: 'params', 'flops', 'latency' or 'units'.
        asked: Share that may remain of it, of the dense network's.
        reached: Share that the chosen widths leave.
    """

    quantity: str
    asked: float
    reached: float

    @property
    def warnings(self) -> list[str]:
        """A sentence if the widths end far below what was asked for; else nothing."""
        if self.reached >= self.asked * (1 - MISSED):
            return []
        return [
            f'target[{self.quantity!r}]: {self.asked:.4g} was asked for and {self.reached:.4g} is what the widths '
            'of the groups allow next below it; lower pruner.round_to, or prune more groups (pruner.keep, target)'
        ]


def within_budget(
    counts_at: Callable[[float], Counts],
    dense: Counts,
    remaining: Callable[[Counts], float],
    asked: float,
    tol: float = 1e-4,
    multiple: int = 1,
    patience: int = 10_000,
    spent: float = SPENT,
) -> dict[str, int]:
    """The widths of an allocator at the ratio that meets a budget, with what rounding left of it spent.

    Args:
        counts_at: Kept units by group name at a ratio in [0, 1).
        dense: As the others, see :func:`spend_rest`.
        remaining: See there.
        asked: See there.
        tol: How exactly the ratio is found.
        multiple: See there.
        patience: See there.
        spent: See there.

    Raises:
        ValueError: Even the largest ratio leaves more than was asked for.
    """
    ratio = search_ratio(lambda ratio: remaining(counts_at(ratio)), asked, tol)
    below = levels_below(ratio, counts_at, tol)
    counts = spend_rest(counts_at(ratio), below, dense, remaining, asked, multiple, patience, spent)
    least = asked * (1 - 2 * spent)
    if ratio == 0 or remaining(counts) >= least:
        return counts
    # A unit is too large for what is left: it stays, and smaller ones that are next in rank go instead.
    above = (counts_at(min(ratio + tol * 2**power, LARGEST_RATIO)) for power in range(ceil(log2(1 / tol)) + 1))
    over = counts_at(max(0.0, ratio - tol))
    return _shrunk(over, above, dense, remaining, (least, asked * (1 + 1e-12)), multiple, patience) or counts


def _shrunk(
    counts: Counts,
    levels: Iterable[Counts],
    dense: Counts,
    remaining: Callable[[Counts], float],
    wanted: tuple[float, float],
    multiple: int,
    patience: int,
) -> Counts | None:
    """Widths that leave a share within bounds, from widths that leave more; None where small steps lead past them."""
    counts, prices = dict(counts), 0
    for level in levels:
        blocked: set[str] = set()
        for name, width in _steps(counts, level, dense, multiple, -1):
            if name in blocked or prices >= patience:
                continue
            left, prices = remaining({**counts, name: width}), prices + 1
            if left < wanted[0]:
                blocked.add(name)
            else:
                counts[name] = width
                if left <= wanted[1]:
                    return counts
    return None


def spend_rest(
    counts: Counts,
    levels: Iterable[Counts],
    dense: Counts,
    remaining: Callable[[Counts], float],
    asked: float,
    multiple: int = 1,
    patience: int = 10_000,
    spent: float = SPENT,
) -> dict[str, int]:
    """Widths that leave what was asked for, from widths that leave less because all groups were rounded down.

    Units come back as they would if less were removed: from level to level, and within a level to the group first that
    has lost the largest share.

    Args:
        counts: Kept units by group name; they leave at most what was asked for.
        levels: Kept units where less and less is removed, in the order of the allocator's or criterion's ranking.
        dense: Units of every group before anything was removed.
        remaining: Prices widths, as the share of the dense network that they leave.
        asked: The share that may remain.
        multiple: New widths are multiples of this, or what a level says.
        patience: Widths that are priced at most.
        spent: The search ends when less than this share of the budget is left.

    Returns:
        Kept units by group name, nowhere fewer than before, that leave at most what was asked for.
    """
    counts, prices = dict(counts), 0

    def fits(steps: list[tuple[str, int]]) -> bool:
        nonlocal prices
        prices += 1
        return remaining({**counts, **dict(steps)}) <= asked * (1 + 1e-12)

    for level in levels:
        steps = _steps(counts, level, dense, multiple)
        while steps:
            if prices >= patience or remaining(counts) >= asked * (1 - spent):
                return counts
            few, many = 0, len(steps)  # the longest beginning that fits
            while few < many:
                middle = (few + many + 1) // 2
                few, many = (middle, many) if fits(steps[:middle]) else (few, middle - 1)
            counts.update(steps[:few])
            blocked = {name for name, _ in steps[few : few + 1]}
            steps = [step for step in steps[few + 1 :] if step[0] not in blocked]
    return counts


def _steps(counts: Counts, level: Counts, dense: Counts, multiple: int, sign: int = 1) -> list[tuple[str, int]]:
    """The ways to a level, as new widths.

    Up (``sign=1``) they begin where the largest share of a group is gone, down (-1) where the smallest is.
    """
    steps = []
    for name, end in level.items():
        start, way = counts[name], sign * (end - counts[name])
        if way > 0:
            between = np.linspace(start, end, min(way, STEPS) + 1)[1:-1]
            widths = [int(width) // multiple * multiple for width in between]
            ladder = [start, *dict.fromkeys(w for w in widths if sign * start < sign * w < sign * end), end]
            steps += [(sign * before / dense[name], name, after) for before, after in pairwise(ladder)]
    return [(name, after) for _, name, after in sorted(steps, key=lambda step: step[0])]


def levels_below(ratio: float, counts_at: Callable[[float], Counts], tol: float = 1e-4) -> Iterator[Counts]:
    """The counts at ever smaller ratios: close to the given one first, at 0 in the end."""
    while ratio > 0:
        ratio, tol = max(0.0, ratio - tol), 2 * tol
        yield counts_at(ratio)


def levels_by_score(kept: Counts, removed: Mapping[str, Sequence[float]]) -> Iterator[Counts]:
    """The counts when the removed units of all groups come back, the highest scores of all first.

    Args:
        kept: Units by group name.
        removed: Scores of the others.
    """
    order = sorted(((score, name) for name, scores in removed.items() for score in scores), reverse=True)
    count = 1
    while order and count < 2 * len(order):
        back = Counter(name for _, name in order[:count])
        yield {name: number + back[name] for name, number in kept.items()}
        count *= 2
