"""Pruning at initialisation: every layer becomes a sparse random graph between its channels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from mmprune.errors import ConfigError
from mmprune.expanders import GraphModel, Selection
from mmprune.expanders.budget import edges_by_degree, edges_by_density, edges_by_params
from mmprune.expanders.sparse_layer import SparseLayer
from mmprune.graph.patterns import check_patterns, is_inside, matches
from mmprune.graph.scope import Scope
from mmprune.options import NonNegativeCount, PartConfig, Positive, Share, build
from mmprune.pruners.base import Images, Pruner
from mmprune.pruners.weight import WeightPlan, layers_that_run
from mmprune.registry import GRAPHS, PRUNERS, build_part
from mmprune.report.report import LayerRow
from mmprune.report.tables import human
from mmprune.restorers.base import Restorer
from mmprune.surgery.masking import freeze_outside, masks
from mmprune.surgery.plain import PlainLayers

FROZEN_OUTSIDE = 'frozen-outside'


@dataclass
class FrozenPlan(WeightPlan):
    """Masks as the published program applies them: nothing is zeroed, but outside them nothing learns."""

    @contextmanager
    def trial(self) -> Iterator[None]:
        """The network as it is: freezing changes no output."""
        yield

    def apply(self, restorer: Restorer | None = None, images: Images = None) -> None:
        """Freeze; a restorer has nothing to repair."""
        for name, mask in self.masks.items():
            freeze_outside(self.scope.model.get_submodule(name), mask)


@PRUNERS.register_module()
class ExpanderPruner(Pruner):
    """Masks the weights of every conv and linear layer by a random graph between its input and output channels.

    An edge keeps all taps of a kernel between two channels. No data, no gradient and no trained weight is looked at;
    the network is trained with the masks. A graph depends on the seed and on its layer's name and shape only, so
    other layers come and go without changing it.
    """

    default_restorer = None

    def __init__(
        self,
        graph: PartConfig | GraphModel = 'RandomRegular',
        degree: Positive | None = None,
        degree_side: Literal['left', 'right', 'max', 'min'] | None = None,
        density: Share | None = None,
        params: Positive | None = None,
        overrides: Mapping[str, Positive] | None = None,
        keep: Sequence[str] = (),
        dense_stem: bool = False,
        dense_head: bool = True,
        select: Literal['expansion', 'sigma2', 'none'] | dict | Selection | None = None,
        shared: bool = False,
        seed: NonNegativeCount | None = None,
        compat: Literal['frozen-outside'] | None = None,
    ) -> None:
        """Configure the graphs.

        Args:
            graph: The graph model: 'RandomRegular', 'XNet', 'Random', or a dict with its options.
            degree: Edges per vertex of ``degree_side``, the same in every layer. Give this, ``density`` or ``params``.
            degree_side: 'left' (inputs), 'right' (outputs), 'max' or 'min' (the side with more or fewer vertices).
                Default: what the published model counts, 'max' for RandomRegular and 'left' for the others. Graph
                models with the same side have the same number of edges in every layer.
            density: Share of the channel pairs that every layer keeps, in (0, 1].
            params: Non-zero parameters of the whole network, everything counted: a number of them, or a share in
                (0, 1) of the dense network's. The degree is chosen accordingly.
            overrides: Degrees of layers whose name matches an fnmatch pattern, whatever the rest gets.
            keep: fnmatch patterns of names of layers that stay dense.
            dense_stem: Whether the network's first layer stays dense. Published: no for VGG, yes for ResNet.
            dense_head: Whether the network's last layer stays dense if it is linear. Published: yes.
            select: None: the first graph is taken. 'expansion' or 'sigma2' (or a dict with ``by``, ``candidates``,
                ``samples``): the best of several.
            shared: As published: layers of the same shape have the same graph.
            seed: Of the graphs. None: the run's own.
            compat: None: weights outside the graph are zero, always. 'frozen-outside', as the published program does
                it: they keep their initial values and only decay, and take part in every forward.
        """
        self.graph = build_part(GRAPHS, graph, 'graph')
        given = {
            key: value
            for key, value in (('degree', degree), ('density', density), ('params', params))
            if value is not None
        }
        if len(given) != 1:
            raise ValueError(
                'give exactly one of `degree` (e.g. 3), `density` (e.g. 0.01) and `params` '
                f'(e.g. 100000), got {", ".join(given) or "none"}'
            )
        if params is not None and params >= 1 and params != int(params):
            raise ValueError(f'params: a whole number, or a share in (0, 1), got {params!r}')
        self.degree, self.density, self.params = degree, density, params
        self.side = degree_side or self.graph.side
        self.overrides, self.keep_patterns = dict(overrides or {}), [keep] if isinstance(keep, str) else list(keep)
        self.dense_stem, self.dense_head = dense_stem, dense_head
        self.selection = _read_selection(select)
        self.shared, self.seed, self.compat = shared, seed, compat

    def plan(
        self, scope: Scope, images: Images = None, fraction: float = 1.0, dense_widths: Mapping[str, int] | None = None
    ) -> WeightPlan:
        """Draw the graph of every layer: once, not step by step. Earlier masks only shrink."""
        if fraction != 1:
            raise ConfigError('schedule: ExpanderPruner draws its graphs once, before training; remove the schedule')
        layers, dense = self._layers(scope)
        edges = self.edges(layers, scope)
        plan = (FrozenPlan if self.compat else WeightPlan)([], scope)
        earlier, dead = masks(scope.model), 0
        for layer in layers.values():
            graphs = self.graphs(layer, edges[layer.name])
            mask = layer.mask(graphs).to(layer.module.weight.device)
            mask = mask & earlier[layer.name] if layer.name in earlier else mask
            plan.masks[layer.name] = mask
            reason = 'its graph is complete' if mask.all() else ''
            plan.rows.append(LayerRow(layer.name, mask.numel(), int(mask.sum()), reason, [layer.name]))
            dead += sum(int((~graph.any(axis=0)).sum()) for graph in graphs)
        plan.rows += [
            LayerRow(name, module.weight.numel(), module.weight.numel(), reason, [name])
            for name, (module, reason) in dense.items()
        ]
        if not any(int((~mask).sum()) for mask in plan.masks.values()) and self.density != 1:
            plan.warnings.append('pruner: every graph is complete, nothing is pruned; lower the degree')
        if self.compat:
            plan.warnings.append(
                f'pruner.compat={FROZEN_OUTSIDE!r}: weights outside the graphs are not zero but '
                'frozen; they take part in every forward, and non-zero parameters count them'
            )
        plan.note = self._note(layers, dead, plan)
        return plan

    def _note(self, layers: Mapping[str, SparseLayer], dead: int, plan: WeightPlan) -> str:
        count = sum(int(plan.masks[layer.name].sum()) // layer.taps for layer in layers.values())
        pairs = sum(layer.pairs * layer.groups for layer in layers.values())
        amount = (
            f'degree {self.degree:g} ({self.side})'
            if self.degree
            else f'density {self.density:g}'
            if self.density
            else f'{self.params:g} parameters'
        )
        weights = sum(int(mask.sum()) for mask in plan.masks.values())
        return (
            f'{type(self.graph).__name__}, {amount}, seed {self._seed()}: {human(count)} edges '
            f'({100 * count / pairs:.2f} %), {weights:,} weights, {dead} dead outputs'
        )

    def graphs(self, layer: SparseLayer, edges: int) -> list[np.ndarray]:
        """The graph of every group of a layer: bool, shape (inputs, outputs).

        Args:
            layer: The layer.
            edges: Edges of each.
        """
        name = f'{layer.inputs}x{layer.outputs}' if self.shared else layer.name
        rng = layer_generator(self._seed(), name)

        def draw() -> np.ndarray:
            return self.graph.draw(layer.inputs, layer.outputs, edges, rng)

        if self.selection is None:
            return [draw() for _ in range(layer.groups)]
        subsets = layer_generator(self._seed(), f'{name} subsets')
        return [self.selection.best(draw, subsets) for _ in range(layer.groups)]

    def edges(self, layers: Mapping[str, SparseLayer], scope: Scope) -> dict[str, int]:
        """Edges per group of every layer, by name."""
        fixed = {}
        for layer in layers.values():
            if pattern := matches(layer.name, list(self.overrides), scope.targets):
                fixed |= edges_by_degree([layer], self.overrides[pattern], self.side, self.graph.multi)
        if self.degree is not None:
            return edges_by_degree(layers.values(), self.degree, self.side, self.graph.multi) | fixed
        if self.density is not None:
            return edges_by_density(layers.values(), self.density) | fixed
        whole = sum(p.numel() for p in scope.model.parameters())
        rest = whole - sum(layer.module.weight.numel() for layer in layers.values())
        wanted = int(self.params if self.params >= 1 else self.params * whole)
        try:
            return edges_by_params(list(layers.values()), max(0, wanted - rest), self.side, fixed)
        except ValueError as error:
            raise ConfigError(
                f'params: {wanted:,}, of which {rest:,} are biases, norms and dense layers; for the rest {error}'
            ) from error

    def _layers(self, scope: Scope) -> tuple[dict[str, SparseLayer], dict[str, tuple[nn.Module, str]]]:
        """The layers that get graphs, and those of the targets that stay dense with the reason; in forward order."""
        ran = layers_that_run(scope)
        inside = {name: module for name, module in ran.items() if is_inside(name, scope.targets)}
        check_patterns(self.keep_patterns, list(inside), scope.targets)
        check_patterns(list(self.overrides), list(inside), scope.targets, 'overrides')
        first, last = next(iter(ran), ''), next(reversed(ran), '')
        layers, dense = {}, {}
        plain = PlainLayers(scope.model)
        for name, module in inside.items():
            layer = SparseLayer.of(name, module)
            if obstacle := plain.obstacle(module, keys=['weight']):
                reason = obstacle
            elif pattern := matches(name, self.keep_patterns, scope.targets):
                reason = f'kept by pattern {pattern!r}'
            elif self.dense_stem and name == first:
                reason = 'the stem (dense_stem=True)'
            elif self.dense_head and name == last and isinstance(module, nn.Linear):
                reason = 'the head (dense_head=True)'
            elif layer.pairs == 1:
                reason = 'every output reads one input only'
            else:
                layers[name] = layer
                continue
            dense[name] = (module, reason)
        if not layers:
            raise ConfigError('target: no conv or linear layer in it runs and may be pruned')
        return layers, dense

    def _seed(self) -> int:
        return torch.initial_seed() if self.seed is None else self.seed


def layer_generator(seed: int, name: str) -> np.random.Generator:
    """Random generator of one layer: the same in every process, whatever else the network has."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, '<u4').tolist()])


def _read_selection(select: str | dict | Selection | None) -> Selection | None:
    if select is None or select == 'none' or isinstance(select, Selection):
        return None if select == 'none' else select
    return build(Selection, dict(by=select) if isinstance(select, str) else select, 'select')
