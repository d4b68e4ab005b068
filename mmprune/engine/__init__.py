"""How pruning reaches an mmengine Runner."""

from mmprune.engine.config import make_loadable_config, prepare_config, prepare_training_config
from mmprune.engine.run import PruningRunner, run

__all__ = ['PruningRunner', 'make_loadable_config', 'prepare_config', 'prepare_training_config', 'run']
