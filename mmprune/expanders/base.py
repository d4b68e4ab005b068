"""The interface of all graph models, and how a degree becomes a number of edges."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from mmprune.options import Checked

#: Whose vertices a degree counts the edges of: inputs, outputs, the larger or the smaller of the two sides.
SIDES: dict[str, Callable[[int, int], int]] = {
    'left': lambda inputs, outputs: inputs,
    'right': lambda inputs, outputs: outputs,
    'max': max,
    'min': min,
}


class GraphModel(Checked, ABC):
    """Draws simple bipartite graphs: left vertices are a layer's input channels, right vertices its outputs.

    Every model is told how many edges to draw, so that models can be compared at equal cost; a degree is only one way
    of saying it (:func:`edge_count`).
    """

    #: What a degree of the published model counts, where the user does not say: one of :data:`SIDES`.
    side = 'left'
    #: Whether the model pairs more stubs than there are pairs when a degree says so.
    multi = False

    @abstractmethod
    def draw(self, inputs: int, outputs: int, edges: int, rng: np.random.Generator) -> np.ndarray:
        """One graph.

        Args:
            inputs: Left vertices.
            outputs: Right vertices.
            edges: How many edges, in [0, inputs · outputs]; more only if the model is :attr:`multi`.
            rng: Where randomness comes from.

        Returns:
            The biadjacency matrix: bool, shape (inputs, outputs).
        """


def edge_count(inputs: int, outputs: int, degree: float, side: str, multi: bool = False) -> int:
    """Edges of a graph in which the vertices of a side have so many on average, at most those of the complete graph.

    Args:
        inputs: Left vertices.
        outputs: Right vertices.
        degree: Edges per vertex; need not be whole.
        side: One of :data:`SIDES`.
        multi: Do not stop at the complete graph.
    """
    count = math.floor(degree * SIDES[side](inputs, outputs) + 0.5)
    return count if multi else min(count, inputs * outputs)


def spread(edges: int, vertices: int, rng: np.random.Generator) -> np.ndarray:
    """Degrees that differ by at most one and sum up to ``edges``, int64, shape ``(vertices,)``."""
    degrees = np.full(vertices, edges // vertices)
    degrees[rng.permutation(vertices)[: edges % vertices]] += 1
    return degrees
