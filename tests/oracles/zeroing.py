"""What pruning means, written down literally: a dense network whose removed channels say nothing after their norm."""

from __future__ import annotations

import copy
import json

import torch
from torch import Tensor, nn


def zeroed_copy(dense: nn.Module, structure: str) -> nn.Module:
    """A copy of the dense network in which every output that the structure (JSON) dropped is zero.

    Norms get scale and shift 0 there; layers get no weights and no bias. Nothing is read from the groups, the slicing
    or the equivalence check of mmprune; which inputs were dropped is not looked at at all.
    """
    model = copy.deepcopy(dense)
    with torch.no_grad():
        for name, entry in json.loads(structure)['modules'].items():
            module = model.get_submodule(name)
            if 'out' not in entry or isinstance(module, nn.PReLU) or not hasattr(module, 'weight'):
                continue
            removed = torch.ones(entry['dense'][0], dtype=torch.bool)
            removed[entry['out']] = False
            if module.weight is None:  # a norm without scale and shift: what it reads is zero, so is its mean
                module.running_mean[removed] = 0
                continue
            weight = module.weight.transpose(0, 1) if getattr(module, 'transposed', False) else module.weight
            weight[removed] = 0
            if module.bias is not None:
                module.bias[removed] = 0
    return model


def outputs(model: nn.Module, *example: object) -> list[Tensor]:
    """All tensors that a network in eval mode gives, in order."""
    model.eval()

    def flat(value: object) -> list[Tensor]:
        if isinstance(value, Tensor):
            return [value]
        return [tensor for item in (value.values() if isinstance(value, dict) else value) for tensor in flat(item)]

    with torch.no_grad():
        return flat(model(*example))


def distance(expected: list[Tensor], got: list[Tensor]) -> float:
    """Largest absolute difference, relative to the scale of the output it occurs in."""
    assert [tuple(a.shape) for a in expected] == [tuple(b.shape) for b in got]
    return max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(expected, got))
