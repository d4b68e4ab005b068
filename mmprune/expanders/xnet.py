"""X-Net: one side chooses its neighbours."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmprune.expanders.base import GraphModel, spread
from mmprune.registry import GRAPHS


@GRAPHS.register_module()
class XNet(GraphModel):
    """Every vertex of one side picks equally many distinct neighbours uniformly; the other side's degrees are free.

    Where the edges do not divide by the vertices, some vertices (drawn at random) pick one more.
    """

    def __init__(self, chooser: Literal['inputs', 'smaller'] = 'inputs') -> None:
        """Configure the graph model.

        Args:
            chooser: 'inputs' pick outputs, as in the publication of 2023; with 'smaller' the side with fewer vertices
                picks (Prabhu et al., ECCV 2018), and a degree counts the edges of that side.
        """
        self.chooser = chooser
        self.side = 'left' if chooser == 'inputs' else 'min'

    def draw(self, inputs: int, outputs: int, edges: int, rng: np.random.Generator) -> np.ndarray:
        """One graph, bool of shape ``(inputs, outputs)``."""
        if self.chooser == 'smaller' and inputs > outputs:
            return choose(spread(edges, outputs, rng), inputs, rng).T
        return choose(spread(edges, inputs, rng), outputs, rng)


def choose(degrees: np.ndarray, vertices: int, rng: np.random.Generator) -> np.ndarray:
    """Bool, shape ``(len(degrees), vertices)``: row ``i`` is a uniform subset of size ``degrees[i]``.

    A row draws with replacement what it still lacks until it lacks nothing. No step prefers a vertex, so all subsets
    of a size are equally likely. Rows with more than half of the vertices draw what they leave out.
    """
    dense = 2 * degrees > vertices
    missing = np.where(dense, vertices - degrees, degrees)
    chosen = np.zeros((len(degrees), vertices), dtype=bool)
    wanted = missing.copy()
    while missing.any():
        chosen[np.repeat(np.arange(len(degrees)), missing), rng.integers(vertices, size=missing.sum())] = True
        missing = wanted - chosen.sum(axis=1)
    chosen[dense] = ~chosen[dense]
    return chosen
