"""The mistakes that mmprune tells people about: each message says what is wrong, where, and what would be right."""

from __future__ import annotations


class ConfigError(ValueError):
    """A mistake in what the user wrote; the message names the key and what would be right."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what would be right."""


class StructureError(ValueError):
    """A structure that is malformed or does not fit the network it is applied to."""


class GraphError(RuntimeError):
    """The channels of a network cannot be followed."""
