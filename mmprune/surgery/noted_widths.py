"""Widths that hosts note beside their layers, and use when they rebuild them, as re-parametrised blocks do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

#: Names of attributes that tell a number of channels: ``in_channels``, ``mid_planes``, ``embed_dims``, ``groups``, ….
NAME = re.compile(r'channel|plane|feature|filter|(^|_)(chs|dims?|groups?)$')
OUTPUTS, INPUTS, GROUPS = ('out_channels', 'out_features'), ('in_channels', 'in_features'), ('groups',)


def stale_widths(
    model: nn.Module, before: Mapping[nn.Module, Mapping[str, Any]]
) -> Iterator[tuple[nn.Module, str, int]]:
    """Attributes that told a width which a cut has changed, and their new values.

    An attribute belongs to those convs and linear layers inside its module that had that many inputs ('in_…'), outputs
    ('out_…'), groups, or either. It follows where all of these agree on a new width; else it is left alone.

    Args:
        model: After the cut.
        before: Attributes of the modules that were cut, as they were.

    Yields:
        Module, name and new value; to be set by whoever can take it back.
    """
    layers: dict[nn.Module, Mapping[str, Any] | None] = {
        module: before.get(module) for module in model.modules() if isinstance(module, (_ConvNd, nn.Linear))
    }
    cut = {module for module in layers if layers[module]}
    for module in model.modules():
        if module in layers or not module._modules:
            continue
        noted = [(name, value) for name, value in vars(module).items() if type(value) is int and NAME.search(name)]
        if not noted:
            continue
        inside = [layer for layer in module.modules() if layer in layers]
        if not any(layer in cut for layer in inside):
            continue
        for name, value in noted:
            now = {
                getattr(layer, side)
                for layer in inside
                for side in _sides(name)
                if (layers[layer] or vars(layer)).get(side) == value
            }
            if len(now) == 1 and now != {value}:
                yield module, name, now.pop()


def _sides(name: str) -> tuple[str, ...]:
    """Attributes of layers that one of a module may tell."""
    if re.search(r'(^|_)groups?$', name):
        return GROUPS
    if re.match(r'in(put)?(_|planes)', name):
        return INPUTS
    return OUTPUTS if re.match(r'out(put)?(_|planes)', name) else (*OUTPUTS, *INPUTS)
