"""From a target (half of the FLOPs) to the threshold that meets it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Spacing of the thresholds that are tried, the next finer level around the best of the last.
STEPS = (0.02, 0.002, 0.0002)


def search_threshold(remaining: Callable[[float], float], share: float, lowest: float = 0.0) -> float:
    """The threshold that leaves as much as possible of what may remain.

    The number of survivors is not monotone in the threshold, so a grid is searched, level by level, instead of an
    interval halved.

    Args:
        remaining: Share that is left at a threshold.
        share: Share that may be left, in (0, 1].
        lowest: Smallest threshold to try.

    Raises:
        ValueError: No threshold leaves so little.
    """
    found: dict[float, float] = {}

    def try_all(thresholds: np.ndarray) -> None:
        for threshold in (round(float(t), 6) for t in thresholds):
            if threshold not in found:
                found[threshold] = remaining(threshold)

    def best() -> float:
        met = [t for t, left in found.items() if left <= share * (1 + 1e-12)]
        if not met:
            least = min(found, key=lambda t: found[t])
            raise ValueError(
                f'a share of {share:g} cannot be reached: at least {found[least]:.4g} remains (at threshold {least:g})'
            )
        return max(met, key=lambda t: (found[t], t))

    try_all(np.append(np.arange(lowest, 1.0, STEPS[0]), 1.001))  # above 1 nothing is linked
    for coarse, fine in zip(STEPS, STEPS[1:]):
        centre = best()
        try_all(np.arange(centre - coarse, min(centre + coarse, 1.001) + fine / 2, fine))
    return best()
