"""The best of several graphs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Literal

import numpy as np

from mmprune.expanders.expansion import Subsets
from mmprune.expanders.spectrum import top_singular_values
from mmprune.options import Checked, Count


class Selection(Checked):
    """Draws candidates and keeps the best: the largest sampled expansion, or the smallest second singular value."""

    def __init__(
        self, by: Literal['expansion', 'sigma2'] = 'expansion', candidates: Count = 100, samples: Count = 1000
    ) -> None:
        """Configure the selection.

        Args:
            by: 'expansion' or 'sigma2'.
            candidates: Graphs to draw.
            samples: Pairs of vertex sets for an estimate of the expansion; all candidates are measured on the same.
        """
        self.by, self.candidates, self.samples = by, candidates, samples

    def best(self, draw: Callable[[], np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """The best of the graphs that ``draw`` gives; the first of equals.

        Args:
            draw: Gives another graph at every call, all of one shape.
            rng: For the vertex sets; ``draw`` has its own.
        """
        first = draw()
        value = (
            self._value
            if self.by == 'sigma2'
            else Subsets(first.shape[0], first.shape[1], self.samples, rng).expansion
        )
        return max(chain([first], (draw() for _ in range(self.candidates - 1))), key=value)

    @staticmethod
    def _value(graph: np.ndarray) -> float:
        return -top_singular_values(graph)[1]
