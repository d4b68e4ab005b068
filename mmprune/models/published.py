"""Key names of published checkpoints, brought to the names of an mmpretrain ``ImageClassifier``."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

Rules = Iterable[tuple[str, str]]


def rename_published(state_dict: Mapping[str, Tensor], published_keys: Rules) -> OrderedDict[str, Tensor]:
    r"""Rename the keys of a published state dict; keys already in host form (``backbone.…``, ``head.…``) stay.

    Args:
        state_dict: Tensors by name, as published; it is left untouched.
        published_keys: Pairs (regular expression, replacement), applied in order to every key with ``re.sub``.

    Returns:
        The same tensors, in the same order, under the host's names.

    Raises:
        ValueError: Two published keys became the same host key.

    Example:
        >>> rules = ((r'^module\.', ''), (r'^fc\.', 'head.fc.'))
        >>> list(rename_published({'module.fc.bias': bias}, rules))
        ['head.fc.bias']
    """
    rules = [(re.compile(pattern), replacement) for pattern, replacement in published_keys]
    renamed: OrderedDict[str, Tensor] = OrderedDict()
    for key, value in state_dict.items():
        new = key
        for pattern, replacement in rules:
            new = pattern.sub(replacement, new)
        if new in renamed:
            raise ValueError(f'two keys of the checkpoint are both renamed to {new!r} (the second one is {key!r})')
        renamed[new] = value
    if hasattr(state_dict, '_metadata'):
        vars(renamed)['_metadata'] = state_dict._metadata
    return renamed


def published_keys_of(model: nn.Module) -> tuple[tuple[str, str], ...]:
    """The renaming rules of a classifier: those of its neck, then those of its backbone."""
    parts = (getattr(model, 'neck', None), getattr(model, 'backbone', None))
    return tuple(rule for part in parts for rule in getattr(part, 'published_keys', ()))
