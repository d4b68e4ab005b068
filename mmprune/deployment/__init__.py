"""Pruned networks for runtimes that know neither mmprune nor the config."""

from mmprune.deployment.export import FORMATS, Exported, ExportError, export

__all__ = ['FORMATS', 'ExportError', 'Exported', 'export']
