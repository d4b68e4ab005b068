"""DFBF's rule: wide layers lose more."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from mmprune.allocators.base import Allocator, Layer, check_ratio
from mmprune.registry import ALLOCATORS


@ALLOCATORS.register_module()
class WidthDependent(Allocator):
    """A layer of width C loses ``floor(C · factor(C) · ratio)`` units, but keeps at least ``min_keep``.

    The defaults are DFBF's for ResNets; its VGGs use ``thresholds=(201, 300, 501), factors=(0.4, 1.0, 0.4, 1.3)``.
    """

    def __init__(
        self,
        ratio: float | None = None,
        target: dict | None = None,
        thresholds: Sequence[int] = (201, 500),
        factors: Sequence[float] = (0.4, 1.0, 1.3),
        min_keep: int = 10,
    ) -> None:
        """See the class.

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
            raise ValueError(f'allocator.thresholds must be ascending widths, got {self.thresholds}')
        if len(self.factors) != len(self.thresholds) + 1 or any(not factor >= 0 for factor in self.factors):
            raise ValueError(
                f'allocator.factors: {len(self.thresholds)} thresholds need {len(self.thresholds) + 1} factors >= 0, '
                f'got {self.factors}'
            )
        if min_keep < 0:
            raise ValueError(f'allocator.min_keep must be >= 0, got {min_keep}')

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """``alive − floor(alive · factor · ratio)`` per layer, at least ``min_keep``."""
        check_ratio(ratio)
        counts = []
        for layer in layers:
            factor = self.factors[bisect_right(self.thresholds, layer.width)]
            kept = layer.alive - math.floor(layer.alive * (factor * ratio))
            counts.append(min(layer.alive, max(kept, self.min_keep, 0)))
        return counts
