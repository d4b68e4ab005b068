"""How pruning reaches an mmengine Runner."""

from mmprune.engine.config import make_loadable_config, prepare_config, prepare_training_config
from mmprune.engine.hooks.pruning_hook import UNTRAINED
from mmprune.engine.run import PruningRunner, run

__all__ = ['UNTRAINED', 'PruningRunner', 'make_loadable_config', 'prepare_config', 'prepare_training_config', 'run']
