"""Restorers: closed-form repairs of a network for the channels that it loses."""

from mmprune.restorers.base import Restorer
from mmprune.restorers.bn_recalibration import BNRecalibration
from mmprune.restorers.lbyl import LBYL
from mmprune.restorers.moment import MomentRestoration
from mmprune.restorers.neuron_merging import NeuronMerging

__all__ = ['BNRecalibration', 'LBYL', 'MomentRestoration', 'NeuronMerging', 'Restorer']
