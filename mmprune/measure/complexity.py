"""Parameters and FLOPs of a network and of what a plan would leave of it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.analysis import FlopAnalyzer
from torch import Tensor, nn

from mmprune.graph.group import ChannelGroup
from mmprune.graph.patterns import is_inside
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import flatten_tensors, map_tensors, tracing_mode
from mmprune.surgery.slicing import MASK, widths


@dataclass(frozen=True)
class Complexity:
    """Counts of one network. FLOPs are multiply-adds at ``input_shape``.

    Attributes:
        params: Parameters of the whole model.
        nonzero_params: Those that are not masked away.
        flops: Multiply-adds of everything that was traced.
        target_params: Parameters inside the targets.
        target_flops: Multiply-adds inside the targets.
        input_shape: Shape of the example input.
        layer_flops: Multiply-adds of every module without children, by its name in the model.
    """

    params: int
    nonzero_params: int
    flops: int
    target_params: int
    target_flops: int
    input_shape: tuple[int, ...]
    layer_flops: Mapping[str, int] = field(default_factory=dict, compare=False)


class _Forward(nn.Module):
    """A network as the analyser wants it: plain tensors in, plain tensors out, whatever containers it works with."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.model, self._scope = scope.model, scope

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = iter(tensors)
        return tuple(flatten_tensors(self._scope.forward(map_tensors(lambda _: next(given), self._scope.example))))


def module_flops(scope: Scope) -> dict[str, int]:
    """Multiply-adds of every module (by its name in the model) on the example input, by mmengine's analyser."""
    logger = logging.getLogger('mmengine')
    level = logger.level
    with tracing_mode(scope.model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logger.setLevel(logging.ERROR)
        try:
            analyser = FlopAnalyzer(_Forward(scope), tuple(flatten_tensors(scope.example)))
            analyser.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            counts = analyser.by_module()
        finally:
            logger.setLevel(level)
    return {
        name.removeprefix('model').removeprefix('.'): int(count)
        for name, count in counts.items()
        if name == 'model' or name.startswith('model.')
    }


def measure(scope: Scope) -> Complexity:
    """Count parameters and FLOPs of the scope's model as it is now."""
    flops = module_flops(scope)
    params = sum(p.numel() for p in scope.model.parameters())
    masked = sum(int((~mask.bool()).sum()) for name, mask in scope.model.named_buffers() if name.endswith(MASK))
    inside = sum(p.numel() for name, p in scope.model.named_parameters() if is_inside(name, scope.targets))
    shape = next((tuple(tensor.shape) for tensor in flatten_tensors(scope.example)), ())
    layers = {
        name: flops[name]
        for name, module in scope.model.named_modules()
        if flops.get(name) and not any(module.children())
    }
    return Complexity(
        params,
        params - masked,
        flops.get('', 0),
        inside,
        sum(flops.get(target, 0) for target in scope.targets),
        shape,
        layers,
    )


@dataclass(frozen=True)
class _Layer:
    """Costs of a layer at its present widths, and the groups that its outputs and inputs belong to.

    ``outs`` and ``ins`` hold (group, its width, share of the layer's channels that one unit is).
    """

    weights: int
    biases: int
    flops: int
    outs: list[tuple[str, int, float]]
    ins: list[tuple[str, int, float]]

    def cost(self, counts: Mapping[str, int]) -> tuple[float, float]:
        """(params, FLOPs) when the named groups have so many units."""
        outs, ins = (
            1 + sum((counts.get(name, width) - width) * share for name, width, share in side)
            for side in (self.outs, self.ins)
        )
        return self.weights * outs * ins + self.biases * outs, self.flops * outs * ins


class CostModel:
    """Parameters and FLOPs of each group's units, and of any choice of widths, without slicing anything.

    A layer's multiply-adds and weights are proportional to its inputs times its outputs (a depthwise conv's and a
    norm's to its width), so every choice of widths can be priced from one measurement, also of widths that are larger
    than now. What no layer does (pooling, upsampling) counts as constant: the price is never too low.
    """

    def __init__(self, scope: Scope, groups: Sequence[ChannelGroup], flops: Mapping[str, int] | None = None) -> None:
        """Measure what every layer costs.

        Args:
            scope: The network as it is.
            groups: Its groups.
            flops: Multiply-adds per module; measured when not given. ``{}`` prices parameters only.
        """
        flops = module_flops(scope) if flops is None else flops
        self._groups = groups
        sides: dict[nn.Module, tuple[list, list]] = {}
        for group in groups:
            for member in (*group.producers, *group.depthwise, *group.norms):
                share = len(member.channels) / group.width / widths(member.module)[0]
                sides.setdefault(member.module, ([], []))[0].append((group.name, group.width, share))
            for member in group.readers:
                share = len(member.channels) / group.width / widths(member.module)[1]
                sides.setdefault(member.module, ([], []))[1].append((group.name, group.width, share))
        names = {module: name for name, module in scope.model.named_modules()}
        #: Params and FLOPs inside the targets as they are.
        self.total = {
            'params': float(
                sum(p.numel() for name, p in scope.model.named_parameters() if is_inside(name, scope.targets))
            ),
            'flops': float(sum(flops.get(target, 0) for target in scope.targets)),
        }
        self._touched: dict[str, list[_Layer]] = {group.name: [] for group in groups}
        for module, (outs, ins) in sides.items():
            if not is_inside(names[module], scope.targets):
                continue
            own = {name: p.numel() for name, p in module.named_parameters(recurse=False)}
            weights = own.pop('weight', 0)
            layer = _Layer(weights, sum(own.values()), flops.get(names[module], 0), outs, ins)
            for name in {name for name, _, _ in (*outs, *ins)}:
                self._touched[name].append(layer)

    def remaining(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Params and FLOPs inside the targets when the named groups have so many units."""
        changed = {id(layer): layer for name in counts for layer in self._touched[name]}.values()
        left = dict(self.total)
        for layer in changed:
            params, flops = layer.cost(counts)
            left['params'] += params - layer.weights - layer.biases
            left['flops'] += flops - layer.flops
        return left

    def per_unit(self) -> dict[str, dict[str, float]]:
        """Params and FLOPs that one unit of each group accounts for while everything else is whole."""
        return {
            group.name: {
                kind: self.total[kind] - value for kind, value in self.remaining({group.name: group.width - 1}).items()
            }
            for group in self._groups
        }
