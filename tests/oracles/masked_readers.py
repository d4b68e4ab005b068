"""Pruning as readers see it: the dense network in which every reader gets zeros for the channels it lost."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass

import torch
from torch import Tensor, nn


def record_of(pruned: nn.Module) -> dict[str, dict]:
    """Kept indices by module name, as the state dict of a pruned network carries them."""
    metadata = pruned.state_dict()._metadata
    texts = [entry['mmprune'] for entry in metadata.values() if 'mmprune' in entry]
    return json.loads(texts[0])['modules'] if texts else {}


@contextmanager
def masked_readers(dense: nn.Module, record: Mapping[str, dict]) -> Iterator[nn.Module]:
    """A copy of the dense network whose layers see zeros at the inputs that the record dropped.

    Unlike zeroed producers this says nothing about what lies between producer and reader: any activation is allowed
    there, also one that makes something of zero. Nothing of mmprune is used.
    """
    model = copy.deepcopy(dense)
    with ExitStack() as hooks:
        for name, entry in record.items():
            module = model.get_submodule(name)
            if 'in' not in entry:
                continue
            gone = torch.ones(entry['dense'][1], dtype=torch.bool)
            gone[entry['in']] = False
            if getattr(module, 'groups', 1) > 1 and len(gone) != module.in_channels:
                raise AssertionError(f'{name}: the record speaks of {len(gone)} inputs')
            hooks.callback(module.register_forward_pre_hook(_hiding(module, gone)).remove)
        yield model


def _hiding(module: nn.Module, gone: Tensor) -> Callable:
    def hide(_: nn.Module, args: tuple) -> tuple:
        keep = (~gone).to(args[0])
        shape = keep if isinstance(module, nn.Linear) else keep.reshape(-1, *[1] * (args[0].dim() - 2))
        return args[0] * shape, *args[1:]

    return hide


def tensors(value: object) -> list[Tensor]:
    """All tensors of nested outputs, in order."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [tensor for item in value for tensor in tensors(item)] if isinstance(value, (list, tuple)) else []


def difference(expected: object, got: object) -> float:
    """Largest difference relative to the largest value of the output it occurs in; inf where shapes differ."""
    pairs = list(zip(tensors(expected), tensors(got), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return float('inf')
    errors = [
        float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp_min(1e-12))
        for a, b in pairs
        if a.numel()
    ]
    return max(errors, default=0.0)
