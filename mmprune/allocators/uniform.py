"""The same ratio in every layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from mmprune.allocators.base import Allocator, Layer, TargetOptions, check_ratio
from mmprune.options import Ratio
from mmprune.registry import ALLOCATORS

ROUNDINGS: dict[str, Callable[[float], int]] = {'floor': math.floor, 'round': round, 'ceil': math.ceil}


@ALLOCATORS.register_module()
class Uniform(Allocator):
    """The same share from every layer.

    Example:
        >>> Uniform(ratio=0.3).keep_counts([Layer('conv1', 64, (64, 3, 3, 3))], 0.3)
        [44]
    """

    def __init__(
        self,
        ratio: Ratio | None = None,
        target: TargetOptions | None = None,
        rounding: Literal['floor', 'round', 'ceil'] = 'floor',
    ) -> None:
        """Allocate at a ratio or within a budget.

        Args:
            ratio: Share of the units to remove, in [0, 1).
            target: Share of FLOPs or parameters that may remain, instead of ``ratio``.
            rounding: Of a fractional number of *kept* units: 'floor' (LBYL's convolutions), 'round'
                (LBYL's LeNet, RD_PRUNE) or 'ceil'.
        """
        super().__init__(ratio, target)
        self.rounding = rounding

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """``rounding(alive · (1 − ratio))`` per layer."""
        check_ratio(ratio)
        to_int = ROUNDINGS[self.rounding]
        return [to_int(layer.alive * (1 - ratio)) for layer in layers]
