"""The same ratio in every layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mmprune.allocators.base import Allocator, Layer, check_ratio
from mmprune.registry import ALLOCATORS

ROUNDINGS: dict[str, Callable[[float], int]] = {'floor': math.floor, 'round': round, 'ceil': math.ceil}


@ALLOCATORS.register_module()
class Uniform(Allocator):
    """Every layer loses the same share.

    Example:
        >>> Uniform(ratio=0.3).keep_counts([Layer('conv1', 64, (64, 3, 3, 3))], 0.3)
        [44]
    """

    def __init__(self, ratio: float | None = None, target: dict | None = None, rounding: str = 'floor') -> None:
        """See the class.

        Args:
            ratio: Share of the units to remove, in [0, 1).
            target: Share of FLOPs or parameters that may remain, instead of ``ratio``.
            rounding: What happens to a fractional number of *kept* units: 'floor' (LBYL's convolutions), 'round'
                (LBYL's LeNet, RD_PRUNE) or 'ceil'.
        """
        super().__init__(ratio, target)
        if rounding not in ROUNDINGS:
            raise ValueError(f'allocator.rounding must be one of {", ".join(ROUNDINGS)}, got {rounding!r}')
        self.rounding = rounding

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """``rounding(alive · (1 − ratio))`` per layer."""
        check_ratio(ratio)
        to_int = ROUNDINGS[self.rounding]
        return [to_int(layer.alive * (1 - ratio)) for layer in layers]
