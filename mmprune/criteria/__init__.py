"""Criteria: the importance of every channel, or of every weight."""

from mmprune.criteria.base import Criterion
from mmprune.criteria.bn_scale import BNScale
from mmprune.criteria.dead_channels import DeadChannels
from mmprune.criteria.geometric_median import GeometricMedian
from mmprune.criteria.l1_norm import L1Norm
from mmprune.criteria.l2_norm import L2Norm
from mmprune.criteria.moment_obs import MomentOBS
from mmprune.criteria.random import Random
from mmprune.criteria.redundancy_graph import RedundancyGraph
from mmprune.criteria.squared_sum import SquaredSum
from mmprune.criteria.weight_criterion import WeightCriterion

__all__ = [
    'BNScale',
    'Criterion',
    'DeadChannels',
    'GeometricMedian',
    'L1Norm',
    'L2Norm',
    'MomentOBS',
    'Random',
    'RedundancyGraph',
    'SquaredSum',
    'WeightCriterion',
]
