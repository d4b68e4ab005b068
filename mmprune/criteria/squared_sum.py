"""Sum of squared weights, the score of DFBF."""

from __future__ import annotations

from torch import Tensor

from mmprune.criteria.weight_criterion import BiasRule, Reduce, WeightCriterion
from mmprune.registry import CRITERIA


@CRITERIA.register_module()
class SquaredSum(WeightCriterion):
    """Sum of squared weights of every filter, without the bias.

    This is what DFBF's program computes where its text says "L1". The order within one producer is that of
    :class:`L2Norm`; coupled groups and :class:`~mmprune.allocators.Global` see a difference.
    """

    def __init__(self, reduce: Reduce = 'mean', with_bias: BiasRule = False) -> None:
        """Configure the criterion; the published rule leaves every bias out."""
        super().__init__(reduce, with_bias)

    def filter_scores(self, filters: Tensor) -> Tensor:
        """Shape ``(n, f)`` to ``(n,)``."""
        return filters.square().sum(dim=1)
