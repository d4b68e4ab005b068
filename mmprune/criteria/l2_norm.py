"""L2 norm of the filters."""

from __future__ import annotations

from torch import Tensor

from mmprune.criteria.weight_criterion import WeightCriterion
from mmprune.registry import CRITERIA


@CRITERIA.register_module()
class L2Norm(WeightCriterion):
    """Euclidean norm of every filter (LBYL's ``l2-norm``)."""

    def filter_scores(self, filters: Tensor) -> Tensor:
        """Shape ``(n, f)`` to ``(n,)``."""
        return filters.norm(dim=1)
