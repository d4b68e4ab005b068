"""Prune mm classifiers and detectors, and repair them without the training data, from a config."""

from mmprune.api import prune
from mmprune.checkpoint.state import load, save
from mmprune.errors import CheckpointError, ConfigError, StructureError
from mmprune.version import __version__

__all__ = ['CheckpointError', 'ConfigError', 'StructureError', '__version__', 'load', 'prune', 'save']
