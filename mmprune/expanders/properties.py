"""Degrees, connectivity and spectrum of one graph, for tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmprune.expanders.expansion import Subsets
from mmprune.expanders.spectrum import ramanujan_bound, top_singular_values


@dataclass(frozen=True)
class GraphProperties:
    """A graph in numbers.

    Attributes:
        inputs: Left vertices.
        outputs: Right vertices.
        edges: Edges.
        density: Share of all pairs that are edges.
        unread_inputs: Inputs without an edge.
        dead_outputs: Outputs without an edge.
        left_degrees: Smallest and largest degree of an input.
        right_degrees: Smallest and largest degree of an output.
        sigma1: Largest singular value.
        sigma2: Second singular value.
        ramanujan_bound: What σ2 of a graph with these (mean) degrees should not exceed.
        expansion: Mean neighbours per member of random sets, both sides averaged.
    """

    inputs: int
    outputs: int
    edges: int
    density: float
    unread_inputs: int
    dead_outputs: int
    left_degrees: tuple[int, int]
    right_degrees: tuple[int, int]
    sigma1: float
    sigma2: float
    ramanujan_bound: float
    expansion: float


def properties_of(graph: np.ndarray, samples: int = 1000, seed: int = 0) -> GraphProperties:
    """Measure a biadjacency matrix (bool, shape (inputs, outputs)); the seed is of the sampled vertex sets."""
    left, right = graph.sum(axis=1), graph.sum(axis=0)
    inputs, outputs = graph.shape
    sigma1, sigma2 = top_singular_values(graph)
    return GraphProperties(
        inputs,
        outputs,
        int(left.sum()),
        float(graph.mean()),
        int((left == 0).sum()),
        int((right == 0).sum()),
        (int(left.min()), int(left.max())),
        (int(right.min()), int(right.max())),
        sigma1,
        sigma2,
        ramanujan_bound(graph),
        Subsets(inputs, outputs, samples, np.random.default_rng(seed)).expansion(graph),
    )
