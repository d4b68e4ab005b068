"""DFBF's rule: wide layers lose more."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from mmprune.allocators.base import Allocator, Layer, TargetOptions, check_ratio
from mmprune.options import NonNegative, NonNegativeCount, Ratio
from mmprune.registry import ALLOCATORS


@ALLOCATORS.register_module()
class WidthDependent(Allocator):
    """A layer of width C loses ``floor(C · factor(C) · ratio)`` units, but keeps at least ``min_keep``.

    The defaults are DFBF's for ResNets; its VGGs use ``thresholds=(201, 300, 501), factors=(0.4, 1.0, 0.4, 1.3)``.
    """

    def __init__(
        self,
        ratio: Ratio | None = None,
        target: TargetOptions | None = None,
        thresholds: Sequence[int] = (201, 500),
        factors: Sequence[NonNegative] = (0.4, 1.0, 1.3),
        min_keep: NonNegativeCount = 10,
    ) -> None:
        """Allocate at a ratio or within a budget.

        Args:
            ratio: Nominal share of units to remove, in [0, 1).
            target: Share of FLOPs or parameters that may remain, instead of ``ratio``.
            thresholds: Widths, ascending, at which the next factor begins to count.
            factors: One more than thresholds: ``factors[i]`` counts for ``thresholds[i-1] <= C < thresholds[i]``.
            min_keep: Units that every layer keeps at least; narrower layers stay whole.
        """
        super().__init__(ratio, target)
        self.thresholds, self.factors, self.min_keep = tuple(thresholds), tuple(factors), min_keep
        if list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError(f'thresholds: ascending widths, got {self.thresholds}')
        if len(self.factors) != len(self.thresholds) + 1:
            raise ValueError(
                f'factors: {len(self.thresholds)} thresholds need {len(self.thresholds) + 1} factors, '
                f'got {self.factors}'
            )

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """``alive − floor(alive · factor · ratio)`` per layer, at least ``min_keep``."""
        check_ratio(ratio)
        counts = []
        for layer in layers:
            factor = self.factors[bisect_right(self.thresholds, layer.width)]
            kept = layer.alive - math.floor(layer.alive * (factor * ratio))
            counts.append(min(layer.alive, max(kept, self.min_keep, 0)))
        return counts
