"""From similarities to kept units: peel the densest part of the redundancy graph, keep one filter of each piece."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components


def max_core(edges: np.ndarray) -> np.ndarray:
    """Vertices of the k-core with the largest possible k, ascending; empty without edges.

    All vertices below the current k go at once, so that every vertex and edge is touched once.

    Args:
        edges: Symmetric adjacency, bool, shape ``(n, n)``, empty diagonal.
    """
    degree = edges.sum(axis=1, dtype=np.int64)
    alive = degree > 0
    core: np.ndarray = np.empty(0, dtype=np.int64)
    while alive.any():
        core = np.flatnonzero(alive)
        k = degree[core].min() + 1  # this is a (k-1)-core; look for the k-core in it
        while True:
            low = np.flatnonzero(alive & (degree < k))
            if not len(low):
                break
            alive[low] = False
            degree -= edges[low].sum(axis=0, dtype=np.int64)
    return core


def decompose(similarity: np.ndarray, threshold: float, strength: np.ndarray) -> np.ndarray:
    """The units that survive at a threshold.

    Units whose similarity is at least ``threshold`` are linked. Of every connected piece of the maximum core of this
    graph only the strongest unit stays; this is repeated on what is left until no link remains.

    Args:
        similarity: Symmetric, shape ``(n, n)``; the diagonal is ignored.
        threshold: Links are inclusive.
        strength: L1 norms of the filters, shape ``(n,)``; of equal ones the first stays.

    Returns:
        Kept units, ascending; at least one, no two of them linked.
    """
    edges = similarity >= threshold
    np.fill_diagonal(edges, False)
    alive = np.arange(len(edges))
    while len(core := max_core(edges)):
        _, piece = connected_components(csr_matrix(edges[np.ix_(core, core)]), directed=False)
        order = np.lexsort((core, -strength[alive[core]], piece))
        first = np.r_[True, piece[order][1:] != piece[order][:-1]]
        gone = core[order[~first]]
        alive, edges = np.delete(alive, gone), np.delete(np.delete(edges, gone, axis=0), gone, axis=1)
    return alive


def removal_levels(similarity: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order in which units go when the threshold falls in infinitely small steps.

    Each step's graph then has one link, so: the most similar pair loses its weaker filter, again and again.

    Returns:
        Units in the order of removal, the last one being the survivor, and the threshold at which each went (falling;
        the survivor has the last one's), both of shape ``(n,)``.
    """
    n = len(similarity)
    value = similarity.astype(np.float64, copy=True)
    np.fill_diagonal(value, -np.inf)
    partner = value.argmax(axis=1)
    best = value[np.arange(n), partner]
    order, levels = np.empty(n, dtype=np.int64), np.zeros(n)
    alive = np.ones(n, dtype=bool)
    for step in range(n - 1):
        first = int(best.argmax())
        second = int(partner[first])
        pair = sorted((first, second))
        gone = pair[0] if strength[pair[0]] < strength[pair[1]] else pair[1]
        order[step], levels[step] = gone, best[first]
        alive[gone], best[gone] = False, -np.inf
        value[:, gone] = -np.inf
        stale = np.flatnonzero(alive & (partner == gone))
        partner[stale] = value[stale].argmax(axis=1)
        best[stale] = value[stale, partner[stale]]
    order[n - 1] = int(np.flatnonzero(alive)[0])
    levels[n - 1] = levels[n - 2] if n > 1 else 0.0
    return order, levels
