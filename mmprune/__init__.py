"""Prune mm classifiers and detectors, and repair them without the training data, from a config.

Importing it registers its parts and calls :func:`register_loaders`, nothing else.
"""

from mmprune.api import prune
from mmprune.checkpoint.mending import mend
from mmprune.checkpoint.mm_loaders import register_loaders
from mmprune.checkpoint.state import load, save
from mmprune.errors import CheckpointError, ConfigError, GraphError, StructureError
from mmprune.version import __version__

__all__ = [
    'CheckpointError',
    'ConfigError',
    'GraphError',
    'StructureError',
    '__version__',
    'load',
    'mend',
    'prune',
    'register_loaders',
    'save',
]

register_loaders()
