"""Pruners: decide which channels or weights go, and take them away."""

from mmprune.pruners.base import Plan, Pruner
from mmprune.pruners.channel import ChannelPruner
from mmprune.pruners.expander import ExpanderPruner
from mmprune.pruners.weight import WeightPruner

__all__ = ['ChannelPruner', 'ExpanderPruner', 'Plan', 'Pruner', 'WeightPruner']
