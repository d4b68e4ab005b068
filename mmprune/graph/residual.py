"""Share of a residual stream that a layer contributes, read off the traced graph and the batch norms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

if TYPE_CHECKING:
    from torch_pruning.dependency import Node


def residual_share(reader: Node) -> float:
    """Share of a layer's branch in the variance of the sum that it is added to; 1 if it is not added to anything.

    The output of a batch norm has variance γ² per channel by construction of its statistics; summands are taken as
    independent, activations and poolings on a shortcut as passing the variance on. An error of this layer is diluted
    by that share: half a block's output may be wrong and most of the stream still right.

    Args:
        reader: The layer's node in the dependency graph.
    """
    node, own = reader, None
    while len(node.outputs) == 1:
        node = node.outputs[0]
        if isinstance(node.module, _BatchNorm):
            own = _gamma_square(node.module)
        elif _is_sum(node):
            break
    if own is None or not _is_sum(node):
        return 1.0
    total = _variance(node, {})
    return 1.0 if total is None or not total > 0 else min(1.0, own / total)


def _is_sum(node: Node) -> bool:
    return type(node.grad_fn).__name__.startswith('AddBackward') and len(node.inputs) > 1


def _gamma_square(norm: _BatchNorm) -> float:
    return 1.0 if norm.weight is None else float(norm.weight.detach().double().square().mean())


def _variance(node: Node, known: dict[Node, float | None]) -> float | None:
    """Mean variance per channel at a node's output, None where no batch norm tells it."""
    if node in known:
        return known[node]
    known[node] = None  # a loop tells nothing
    if isinstance(node.module, _BatchNorm):
        known[node] = _gamma_square(node.module)
    elif isinstance(node.module, (_ConvNd, nn.Linear, nn.Parameter)):
        known[node] = None
    elif _is_sum(node):
        parts = [_variance(part, known) for part in node.inputs]
        known[node] = None if any(part is None for part in parts) else float(torch.tensor(parts).sum())
    elif len(node.inputs) == 1:
        known[node] = _variance(node.inputs[0], known)
    return known[node]
