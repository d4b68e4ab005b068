"""Fine-tuning a pruned network on features of the dense one, without labels."""

from mmprune.distillation.losses import FeatureLoss, term_weights
from mmprune.distillation.part import Part
from mmprune.distillation.points import Point, find_points
from mmprune.distillation.settings import FeatureDistillation
from mmprune.distillation.wrapper import DistillationWrapper

__all__ = ['DistillationWrapper', 'FeatureDistillation', 'FeatureLoss', 'Part', 'Point', 'find_points', 'term_weights']
