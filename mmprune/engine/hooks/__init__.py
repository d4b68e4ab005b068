"""Hooks of an mmengine run."""

from mmprune.engine.hooks.distillation_hook import DistillationHook
from mmprune.engine.hooks.epoch_seed_hook import EpochSeedHook
from mmprune.engine.hooks.pruning_hook import PruningHook
from mmprune.engine.hooks.rebuild_hook import RebuildHook
from mmprune.engine.hooks.report_hook import ReportHook

__all__ = ['DistillationHook', 'EpochSeedHook', 'PruningHook', 'RebuildHook', 'ReportHook']
