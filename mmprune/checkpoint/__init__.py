"""Checkpoints that describe themselves, read without running code."""

from mmprune.checkpoint.mm_loaders import register_loaders
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.checkpoint.state import load, make_loadable, save, set_structure, structure_of
from mmprune.errors import CheckpointError, StructureError
from mmprune.surgery.structure import Structure

__all__ = [
    'CheckpointError',
    'Structure',
    'StructureError',
    'load',
    'make_loadable',
    'read_checkpoint',
    'register_loaders',
    'save',
    'set_structure',
    'structure_of',
]
