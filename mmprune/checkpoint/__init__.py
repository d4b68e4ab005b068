"""Checkpoints that describe themselves, read without running code."""

from mmprune.checkpoint import mm_loaders
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
    'mm_loaders',
    'read_checkpoint',
    'save',
    'set_structure',
    'structure_of',
]
