"""One ranking of the units of all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmprune.allocators.base import Allocator, Layer, TargetOptions, check_ratio
from mmprune.allocators.ranking import count_cheapest, count_smallest, sorted_scores
from mmprune.options import Ratio, Share
from mmprune.registry import ALLOCATORS


def unit_costs(layers: Sequence[Layer], kind: str, key: str) -> list[float]:
    """Cost of one unit of every layer: 1, its parameters or its multiply-adds.

    Args:
        layers: The layers.
        kind: 'unit', 'params' or 'flops'.
        key: The option of the allocator that named ``kind``, for messages.
    """
    costs = [1.0 if kind == 'unit' else float(getattr(layer, kind)) for layer in layers]
    for layer, cost in zip(layers, costs):
        if not 0 < cost < float('inf'):
            raise ValueError(f'{key}={kind!r}: the {kind} of {layer.name} were not measured (got {cost:g})')
    return costs


@ALLOCATORS.register_module()
class Global(Allocator):
    """One threshold on the scores of all layers together: what is below it goes."""

    needs_scores = True

    def __init__(
        self,
        ratio: Ratio | None = None,
        target: TargetOptions | None = None,
        cost: Literal['unit', 'params', 'flops'] = 'unit',
        max_ratio: Share = 1.0,
    ) -> None:
        """Allocate at a ratio or within a budget.

        Args:
            ratio: Share to remove, in [0, 1): of the units, or of what ``cost`` names.
            target: Share of FLOPs or parameters that may remain, instead of ``ratio``.
            cost: 'unit' ranks by the score itself; 'params' and 'flops' rank by score per parameter or per
                multiply-add of the unit, and ``ratio`` is a share of all units' parameters or multiply-adds.
            max_ratio: No layer loses more than this share of its units, in (0, 1].
        """
        super().__init__(ratio, target)
        if ratio is not None and max_ratio < ratio:
            raise ValueError(f'max_ratio: at least ratio={ratio}, got {max_ratio!r}')
        self.cost = self.counts = cost
        self.needs_flops = cost == 'flops'
        self.max_ratio = max_ratio

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """Survivors of a common threshold, per layer."""
        check_ratio(ratio)
        scores = [sorted_scores(layer, 'Global', allow_negative=self.cost == 'unit') for layer in layers]
        candidates = [s[: int(self.max_ratio * len(s))] for s in scores]
        if self.cost == 'unit':
            number = round(ratio * sum(layer.alive for layer in layers))
            removed = count_smallest(candidates, min(number, sum(map(len, candidates))))
        else:
            costs = unit_costs(layers, self.cost, 'cost')
            amount = ratio * sum(cost * layer.alive for cost, layer in zip(costs, layers))
            removed = count_cheapest([s / cost for s, cost in zip(candidates, costs)], costs, amount)
        return [layer.alive - count for layer, count in zip(layers, removed)]
