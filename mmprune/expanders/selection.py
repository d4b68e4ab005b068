"""The best of several graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmprune.expanders.expansion import Subsets
from mmprune.expanders.spectrum import top_singular_values

MEASURES = ('expansion', 'sigma2')


class Selection:
    """Draws candidates and keeps the best: the largest sampled expansion, or the smallest second singular value."""

    def __init__(self, by: str = 'expansion', candidates: int = 100, samples: int = 1000) -> None:
        """Configure the selection.

        Args:
            by: 'expansion' or 'sigma2'.
            candidates: Graphs to draw.
            samples: Pairs of vertex sets for an estimate of the expansion; all candidates are measured on the same.
        """
        if by not in MEASURES:
            raise ValueError(f'select.by: one of {", ".join(MEASURES)}, got {by!r}')
        for key, value in (('candidates', candidates), ('samples', samples)):
            if type(value) is not int or value < 1:
                raise ValueError(f'select.{key}: a whole number of at least 1, got {value!r}')
        self.by, self.candidates, self.samples = by, candidates, samples

    def best(self, draw: Callable[[], np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """The best of the graphs that ``draw`` gives; the first of equals.

        Args:
            draw: Gives another graph at every call, all of one shape.
            rng: For the vertex sets; ``draw`` has its own.
        """
        best, highest, value = None, -np.inf, self._value if self.by == 'sigma2' else None
        for _ in range(self.candidates):
            graph = draw()
            if value is None:
                value = Subsets(*graph.shape, self.samples, rng).expansion
            found = value(graph)
            if found > highest:
                best, highest = graph, found
        return best

    @staticmethod
    def _value(graph: np.ndarray) -> float:
        return -top_singular_values(graph)[1]
