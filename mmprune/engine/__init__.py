"""Pruning inside an mmengine Runner: config, hooks, resume and command line."""

from mmprune.engine.config import (
    has_weights,
    make_loadable_config,
    prepare_config,
    prepare_training_config,
    read_settings,
)
from mmprune.engine.hooks.pruning_hook import UNTRAINED
from mmprune.engine.runner import PruningRunner, run
from mmprune.engine.settings import Settings

__all__ = [
    'UNTRAINED',
    'PruningRunner',
    'Settings',
    'has_weights',
    'make_loadable_config',
    'prepare_config',
    'prepare_training_config',
    'read_settings',
    'run',
]
