"""Hooks of an mmengine run."""

from mmprune.engine.hooks.epoch_seed_hook import EpochSeedHook
from mmprune.engine.hooks.pruning_hook import PruningHook
from mmprune.engine.hooks.rebuild_hook import RebuildHook

__all__ = ['EpochSeedHook', 'PruningHook', 'RebuildHook']
