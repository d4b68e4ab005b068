"""Random edges: the baseline that expanders have to beat."""

from __future__ import annotations

import numpy as np

from mmprune.expanders.base import GraphModel
from mmprune.registry import GRAPHS


@GRAPHS.register_module(name='Random')
class RandomGraph(GraphModel):
    """Every pair is an edge with the same probability, independently; all degrees are free."""

    def __init__(self, exact: bool = False) -> None:
        """Configure the graph model.

        Args:
            exact: Whether the graph has exactly the wanted number of edges; as published, only on average.
        """
        self.exact = exact

    def draw(self, inputs: int, outputs: int, edges: int, rng: np.random.Generator) -> np.ndarray:
        """One graph, bool of shape ``(inputs, outputs)``."""
        if not self.exact:
            return rng.random((inputs, outputs)) < edges / (inputs * outputs)
        graph = np.zeros(inputs * outputs, dtype=bool)
        graph[rng.choice(inputs * outputs, edges, replace=False, shuffle=False)] = True
        return graph.reshape(inputs, outputs)
