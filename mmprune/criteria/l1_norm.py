"""L1 norm of the filters."""

from __future__ import annotations

from torch import Tensor

from mmprune.criteria.weight_criterion import WeightCriterion
from mmprune.registry import CRITERIA


@CRITERIA.register_module()
class L1Norm(WeightCriterion):
    """Sum of absolute weights of every filter (Li et al., ICLR 2017; LBYL's ``l1-norm``)."""

    def filter_scores(self, filters: Tensor) -> Tensor:
        """Shape ``(n, f)`` to ``(n,)``."""
        return filters.abs().sum(dim=1)
