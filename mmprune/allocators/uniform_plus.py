"""The same ratio in all layers but the first and the last, which are spared."""

from __future__ import annotations

from collections.abc import Sequence

from mmprune.allocators.base import Allocator, Layer, TargetOptions, check_ratio
from mmprune.options import Fraction, Ratio
from mmprune.registry import ALLOCATORS


@ALLOCATORS.register_module()
class UniformPlus(Allocator):
    """The first layer, if it is a conv, stays whole; the last keeps a minimum; the others share the rest equally.

    The rule of Gale et al. (2019), as RD_PRUNE and LAMP compute it.
    """

    def __init__(
        self, ratio: Ratio | None = None, target: TargetOptions | None = None, last_min_share: Fraction = 0.2
    ) -> None:
        """Allocate at a ratio or within a budget.

        Args:
            ratio: Share of all units to remove, in [0, 1).
            target: Share of FLOPs or parameters that may remain, instead of ``ratio``.
            last_min_share: Share of the last layer's (original) units that it keeps at least, in [0, 1].
        """
        super().__init__(ratio, target)
        self.last_min_share = last_min_share

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """``alive − round(share · alive)`` with a share of 0 for the first, a capped one for the last layer."""
        check_ratio(ratio)
        alive = [layer.alive for layer in layers]
        amount = round(ratio * sum(alive))
        first = int(len(layers[0].shape) > 2)
        share = self._share(amount, sum(alive[first:]), ratio)
        shares = [0.0] * first + [share] * (len(layers) - first)
        last_min = round(self.last_min_share * layers[-1].width)
        if len(layers) > first and round((1 - share) * alive[-1]) < last_min:
            from_last = max(0, alive[-1] - last_min)
            share = self._share(amount - from_last, sum(alive[first:-1]), ratio)
            shares = [0.0] * first + [share] * (len(layers) - first - 1) + [from_last / alive[-1]]
        return [n - round(share * n) for n, share in zip(alive, shares)]

    def _share(self, amount: int, available: int, ratio: float) -> float:
        """``amount`` as a share of ``available``; an error beyond 1, unless a target is searched."""
        if amount > available and self.budget is None:
            raise ValueError(
                f'ratio: {ratio:g} is too much for UniformPlus: {amount} units would have to go from the '
                f'{available} of the layers that may lose any; give a smaller ratio or last_min_share'
            )
        return min(1.0, amount / available) if available else 0.0
