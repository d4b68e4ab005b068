"""Distortion: the change of a network's output when one of its layers is pruned."""

from mmprune.distortion.additivity import Additivity, check_additivity
from mmprune.distortion.curves import CurveMeasurer
from mmprune.distortion.cuts import ChannelCut, Cut, WeightCut
from mmprune.distortion.prefix import PrefixReplay

__all__ = ['Additivity', 'ChannelCut', 'CurveMeasurer', 'Cut', 'PrefixReplay', 'WeightCut', 'check_additivity']
