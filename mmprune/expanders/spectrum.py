"""Singular values of a graph, and what the best graphs of its degrees reach."""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import eigh


def top_singular_values(graph: np.ndarray) -> tuple[float, float]:
    """The two largest singular values of a biadjacency matrix (the second is 0 if a side has one vertex).

    A large gap between them means that every set of vertices is well connected to the rest (expander mixing lemma).
    """
    matrix = graph.astype(np.float64)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    size = len(gram)
    values = eigh(gram, eigvals_only=True, subset_by_index=(max(0, size - 2), size - 1)).clip(min=0)
    return math.sqrt(values[-1]), math.sqrt(values[0]) if size > 1 else 0.0


def ramanujan_bound(graph: np.ndarray) -> float:
    """``√(d1 − 1) + √(d2 − 1)`` for mean degrees d1 and d2: a biregular graph with σ2 up to it is called Ramanujan."""
    edges = int(graph.sum())
    return sum(math.sqrt(max(0.0, edges / vertices - 1)) for vertices in graph.shape)
