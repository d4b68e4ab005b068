"""Vertex expansion: the size of the neighbourhoods of vertex sets, estimated on random sets."""

from __future__ import annotations

import numpy as np


class Subsets:
    """Random vertex sets of both sides, to compare graphs on the same sets: that cancels most of the sampling noise.

    One sample holds a set A of inputs and a set B of outputs; their sizes are uniform on 1 … ⌈n / 2⌉ − 1 (1 on a side
    with fewer than three vertices), and all sets of a size are equally likely.
    """

    def __init__(self, inputs: int, outputs: int, samples: int, rng: np.random.Generator) -> None:
        """Draw the sets.

        Args:
            inputs: Left vertices.
            outputs: Right vertices.
            samples: Number of pairs of sets.
            rng: Where randomness comes from.
        """
        self.samples = samples
        self._left = _draw(inputs, samples, rng)
        self._right = _draw(outputs, samples, rng)

    def ratios(self, graph: np.ndarray) -> np.ndarray:
        """``(|N(A)| / |A| + |N(B)| / |B|) / 2`` of every sample, float64, shape ``(samples,)``."""
        return (self._one_side(graph, *self._left) + self._one_side(graph.T, *self._right)) / 2

    def expansion(self, graph: np.ndarray) -> float:
        """The estimate: the mean of :meth:`ratios`."""
        return float(self.ratios(graph).mean())

    def _one_side(self, graph: np.ndarray, members: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Neighbours per member, for all samples at once.

        A vertex carries one bit per sample (is it in that sample's set?); what a vertex of the other side sees is the
        "or" over its neighbours. That costs edges · samples / 64 operations.
        """
        ends, neighbours = np.nonzero(graph.T)
        if not len(ends):
            return np.zeros(self.samples)
        starts = np.flatnonzero(np.diff(ends, prepend=-1))
        reached = np.bitwise_or.reduceat(members[neighbours], starts, axis=0)
        bits = np.unpackbits(reached.view(np.uint8), axis=1, count=self.samples)
        return bits.sum(axis=0, dtype=np.int32) / sizes


def _draw(vertices: int, samples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Membership as bits, uint64, shape ``(vertices, ⌈samples / 64⌉)``, and the sets' sizes, shape ``(samples,)``."""
    sizes = rng.integers(1, max(1, -(-vertices // 2) - 1) + 1, size=samples)
    order = np.argsort(rng.random((samples, vertices), dtype=np.float32), axis=1)
    members = np.zeros((samples, vertices), dtype=bool)
    np.put_along_axis(members, order, np.arange(vertices) < sizes[:, None], axis=1)
    bits = np.packbits(members.T, axis=1)
    padded = np.zeros((vertices, -(-samples // 64) * 8), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view(np.uint64), sizes
