"""An allocator of one's own: early layers lose less than late ones."""

from collections.abc import Sequence
from typing import Annotated

from mmprune.allocators.base import Allocator, Layer, TargetOptions
from mmprune.options import Bounds, Ratio
from mmprune.registry import ALLOCATORS

Slope = Annotated[float, Bounds(at_least=0, at_most=2)]  # 0: all layers alike


@ALLOCATORS.register_module()
class Ramp(Allocator):
    """The share removed grows from layer to layer, by ``slope`` times the mean share from the first to the last."""

    def __init__(self, ratio: Ratio | None = None, target: TargetOptions | None = None, slope: Slope = 0.5) -> None:
        super().__init__(ratio, target)  # one of the two; with a target, the pruner searches the ratio
        self.slope = slope

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """Units that every layer keeps, in the order of ``layers``."""
        counts = []
        for i, layer in enumerate(layers):
            position = i / (len(layers) - 1) - 0.5 if len(layers) > 1 else 0.0
            share = min(0.95, ratio * (1 + self.slope * position))
            counts.append(max(1, round(layer.alive * (1 - share))))
        return counts
