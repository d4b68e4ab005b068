"""Every masked layer of a network as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy.linalg import block_diag
from torch import Tensor

from mmprune.expanders.properties import GraphProperties, properties_of
from mmprune.expanders.sparse_layer import SparseLayer
from mmprune.graph.scope import Scope
from mmprune.measure.complexity import module_flops
from mmprune.report.report import human, table

HEAD = (
    'layer',
    'in → out',
    'edges',
    'density',
    'unread in',
    'dead out',
    'degrees in',
    'degrees out',
    'σ1',
    'σ2',
    'bound',
    'expansion',
    'MACs',
)


@dataclass(frozen=True)
class LayerGraph:
    """One masked layer; a grouped conv is one graph without edges between groups.

    Attributes:
        name: Module path.
        weights: Weights that stay.
        density: Their share.
        macs: Multiply-adds of the edges at the scope's example input.
        dense_macs: Multiply-adds of the dense layer.
        graph: The graph's properties; their density counts pairs of channels in different groups as missing edges.
    """

    name: str
    weights: int
    density: float
    macs: int
    dense_macs: int
    graph: GraphProperties


def analyse(scope: Scope, masks: Mapping[str, Tensor], samples: int = 1000) -> list[LayerGraph]:
    """The graphs behind masks, layer by layer.

    Args:
        scope: The network.
        masks: Bool, of each masked layer's weight by name.
        samples: Pairs of vertex sets for the estimate of the expansion.
    """
    flops, found = module_flops(scope), []
    for name, mask in masks.items():
        graphs = SparseLayer.of(name, scope.model.get_submodule(name)).graphs(mask)
        graph = graphs[0] if len(graphs) == 1 else block_diag(*graphs).astype(bool)
        share = float(mask.float().mean())
        found.append(
            LayerGraph(
                name,
                int(mask.sum()),
                share,
                round(share * flops.get(name, 0)),
                flops.get(name, 0),
                properties_of(np.ascontiguousarray(graph), samples),
            )
        )
    return found


def analysis_table(layers: list[LayerGraph]) -> str:
    """One line per layer, and the sums."""
    rows = [HEAD]
    for layer in layers:
        g = layer.graph
        rows.append(
            (
                layer.name,
                f'{g.inputs} → {g.outputs}',
                f'{g.edges}',
                f'{100 * layer.density:.2f} %',
                f'{g.unread_inputs}',
                f'{g.dead_outputs}',
                _range(g.left_degrees),
                _range(g.right_degrees),
                f'{g.sigma1:.2f}',
                f'{g.sigma2:.2f}',
                f'{g.ramanujan_bound:.2f}',
                f'{g.expansion:.2f}',
                human(layer.macs),
            )
        )
    macs, dense = sum(layer.macs for layer in layers), sum(layer.dense_macs for layer in layers)
    rows.append(
        (
            'all',
            '',
            f'{sum(layer.graph.edges for layer in layers)}',
            '',
            f'{sum(layer.graph.unread_inputs for layer in layers)}',
            f'{sum(layer.graph.dead_outputs for layer in layers)}',
            '',
            '',
            '',
            '',
            '',
            '',
            f'{human(macs)} of {human(dense)}',
        )
    )
    return table(rows)


def analysis_dict(layers: list[LayerGraph]) -> dict:
    """The same as plain data."""
    return {'layers': [asdict(layer) for layer in layers]}


def _range(degrees: tuple[int, int]) -> str:
    return f'{degrees[0]}–{degrees[1]}' if degrees[0] != degrees[1] else f'{degrees[0]}'
