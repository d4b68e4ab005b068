"""Distance to the other filters (FPGM)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmprune.criteria.weight_criterion import WeightCriterion
from mmprune.registry import CRITERIA


@CRITERIA.register_module()
class GeometricMedian(WeightCriterion):
    """Sum of Euclidean distances to all other filters of the layer (He et al., CVPR 2019; LBYL's ``l2-GM``).

    Filters near the geometric median are the easiest to replace by the others, so they go first.
    """

    def filter_scores(self, filters: Tensor) -> Tensor:
        """Shape ``(n, f)`` to ``(n,)``."""
        # Distances come from a matrix product (4 times faster); centred rows keep its cancellation small.
        filters = filters - filters.mean(dim=0)
        distances = torch.cdist(filters, filters, compute_mode='use_mm_for_euclid_dist')
        return distances.fill_diagonal_(0).sum(dim=1)
