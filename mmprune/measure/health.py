"""Numbers that no pruning can work with: refused before anything is touched, and named by layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import is_finite, tracing_mode, watching


def refuse_bad_numbers(model: nn.Module, blame: str) -> None:
    """Refuse a network that holds NaN or Inf, or a batch norm with a negative variance.

    Args:
        model: Every parameter of it and every batch norm's statistics are looked at.
        blame: The key of the config that they come from, and what it says, for the message.

    Raises:
        ConfigError: Names the first such tensor.
    """
    for name, tensor in _numbers(model):
        if not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise ConfigError(f'{blame}: {name} contains NaN or Inf ({count} of {tensor.numel()} values)')
        if name.endswith('running_var') and bool((tensor < 0).any()):
            raise ConfigError(f'{blame}: {name} has negative variances (down to {float(tensor.min()):.4g})')


def refuse_bad_outputs(scope: Scope) -> list[str]:
    """Refuse a network whose numbers are finite, but so large that a layer's outputs are not.

    Only layers with weights count: some hosts mean the -inf with which they mask what they return.

    Returns:
        A warning if nothing is to blame, but the network's own outputs are not finite; else nothing.

    Raises:
        ConfigError: Names the first layer that overflows.
    """
    probe = scope.probe_input()
    first: list[str] = []

    def watch(name: str, module: nn.Module, args: object, output: object) -> None:
        if not first and not is_finite(output) and is_finite(args):
            first.append(name)

    with tracing_mode(scope.model), torch.no_grad():
        if is_finite(scope.forward(probe)):
            return []
        layers = {
            name: module
            for name, module in scope.model.named_modules()
            if any(True for _ in module.parameters(recurse=False))
        }
        with watching(layers, watch):
            scope.forward(probe)
    if first:
        raise ConfigError(
            f'load_from: the network gives NaN or Inf for random images, first in {first[0]}; its '
            'weights or statistics are too large'
        )
    return ['the network gives NaN or Inf for random images, in an operation without weights']


def weak_layers(model: nn.Module) -> list[str]:
    """Warnings of what is legal but seldom meant: variances of zero, channels without weights or scale."""
    still, dead = [], []
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            if module.running_var is not None and (count := int((module.running_var == 0).sum())):
                still.append(f'{name} ({count} of {module.num_features})')
            if module.weight is not None and (count := int((module.weight == 0).sum())):
                dead.append(f'{name} ({count} of {module.num_features})')
        elif isinstance(module, (_ConvNd, nn.Linear)):
            rows = module.weight.detach().transpose(0, 1) if getattr(module, 'transposed', False) else module.weight
            if count := int((rows.detach().flatten(1) == 0).all(dim=1).sum()):
                dead.append(f'{name} ({count} of {len(rows)})')
    return [
        f'{text}: {", ".join(names[:3])}{f" and {len(names) - 3} more layers" if len(names) > 3 else ""}'
        for text, names in (
            ('batch norms have channels of zero variance, which no training image moved', still),
            ('channels have no weight, or a batch norm with scale 0, and so are dead', dead),
        )
        if names
    ]


def _numbers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and the statistics of batch norms of any library; other buffers may hold what they like."""
    yield from ((name, p.detach()) for name, p in model.named_parameters() if p.is_floating_point())
    yield from (
        (name, buffer)
        for name, buffer in model.named_buffers()
        if name.rpartition('.')[2] in ('running_mean', 'running_var')
    )
