"""Checkpoints that describe themselves, read without running code."""

from mmprune.checkpoint.mm_loaders import register_loaders
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.checkpoint.record import record_cut, structure_of
from mmprune.checkpoint.state import load, make_strict, save
from mmprune.errors import CheckpointError, StructureError
from mmprune.surgery.structure import Structure

__all__ = [
    'CheckpointError',
    'Structure',
    'StructureError',
    'load',
    'make_strict',
    'read_checkpoint',
    'record_cut',
    'register_loaders',
    'save',
    'structure_of',
]
