"""Every masked layer of a network as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
from torch import Tensor

from mmprune.expanders.properties import GraphProperties, properties_of
from mmprune.expanders.sparse_layer import SparseLayer
from mmprune.graph.scope import Scope
from mmprune.measure.complexity import module_flops


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
