"""Fine-tuning a pruned network on features of the dense one, without labels."""

from mmprune.distillation.feature_distillation import FeatureDistillation
from mmprune.distillation.feature_loss import FeatureLoss
from mmprune.distillation.part import Part
from mmprune.distillation.points import Point, find_points
from mmprune.distillation.term_weights import term_weights

__all__ = ['FeatureDistillation', 'FeatureLoss', 'Part', 'Point', 'find_points', 'term_weights']
