"""Random regular graphs: all degrees of a side are equal."""

from __future__ import annotations

import numpy as np

from mmprune.expanders.base import GraphModel, spread
from mmprune.registry import GRAPHS


@GRAPHS.register_module()
class RandomRegular(GraphModel):
    """Configuration model: every vertex has stubs, and the stubs of both sides are paired at random.

    Degrees of a side differ by at most one (not at all where the edges divide by the vertices), and the graph is
    simple with exactly the wanted number of edges: pairs that are there already are swapped with others.
    """

    side = 'max'

    def __init__(self, collapse: bool = False) -> None:
        """Configure the graph model.

        Args:
            collapse: As published: pairs that occur twice are merged instead of swapped, so that some edges are lost
                and the graph is only nearly regular.
        """
        self.collapse = self.multi = collapse

    def draw(self, inputs: int, outputs: int, edges: int, rng: np.random.Generator) -> np.ndarray:
        """One graph, bool of shape ``(inputs, outputs)``."""
        if self.collapse:
            graph = np.zeros((inputs, outputs), dtype=bool)
            graph[_pair(inputs, outputs, edges, rng)] = True
            return graph
        if 2 * edges > inputs * outputs:  # swaps find no room in a dense graph, but plenty in its complement
            return ~self.draw(inputs, outputs, inputs * outputs - edges, rng)
        counts = None
        while counts is None:
            counts = _swap_until_simple(*_pair(inputs, outputs, edges, rng), (inputs, outputs), rng)
        return counts > 0


def _pair(inputs: int, outputs: int, edges: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ends of every edge of a random multigraph with even degrees, each of shape ``(edges,)``."""
    left = np.repeat(np.arange(inputs), spread(edges, inputs, rng))
    return left, rng.permutation(np.repeat(np.arange(outputs), spread(edges, outputs, rng)))


def _swap_until_simple(
    left: np.ndarray, right: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, rounds: int = 1000
) -> np.ndarray | None:
    """Exchange the right ends of surplus edges with those of others until no pair occurs twice.

    Args:
        left: Left ends, shape ``(edges,)``.
        right: Right ends.
        shape: Numbers of left and right vertices.
        rng: Where randomness comes from.
        rounds: After so many tries give up.

    Returns:
        How often every pair occurs (0 or 1), or None if it did not work out.
    """
    counts = np.zeros(shape, dtype=np.int32)
    np.add.at(counts, (left, right), 1)
    for _ in range(rounds):
        key = left * shape[1] + right
        surplus = np.setdiff1d(np.arange(len(key)), np.unique(key, return_index=True)[1], assume_unique=True)
        if not len(surplus):
            return counts
        others = np.setdiff1d(np.arange(len(key)), surplus, assume_unique=True)
        surplus = rng.permutation(surplus)[: len(others)]
        partner = rng.permutation(others)[: len(surplus)]
        # each swap makes two new pairs: none may be there already, nor be made by another swap of this round
        new = np.stack([left[surplus] * shape[1] + right[partner], left[partner] * shape[1] + right[surplus]])
        names, occurrences = np.unique(new, return_counts=True)
        once = occurrences[np.searchsorted(names, new)] == 1
        fine = ((counts.reshape(-1)[new] == 0) & once).all(axis=0)
        a, b = surplus[fine], partner[fine]
        right[a], right[b] = right[b], right[a]
        np.add.at(counts.reshape(-1), np.concatenate([key[a], key[b]]), -1)
        counts.reshape(-1)[new[:, fine]] += 1
    return None
