"""Layer-adaptive magnitude pruning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmprune.allocators.base import Allocator, Layer, check_ratio
from mmprune.allocators.ranking import sorted_scores
from mmprune.registry import ALLOCATORS


@ALLOCATORS.register_module()
class LAMP(Allocator):
    """Keeps the highest LAMP scores of all layers together (Lee et al., ICLR 2021).

    The LAMP score of a magnitude is its square over the sum of the squares from it upwards in its layer; every layer's
    largest scores 1, so no layer is emptied as long as one unit per layer may stay. The criterion must give
    magnitudes: absolute values for weights, L2Norm for channels.
    """

    needs_scores = True

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """Survivors of a common threshold on the LAMP scores, per layer; units that tie with it stay."""
        check_ratio(ratio)
        scores = [lamp_scores(sorted_scores(layer, 'LAMP')) for layer in layers]
        pooled = np.concatenate(scores)
        amount = len(pooled) - round((1 - ratio) * len(pooled))
        if amount <= 0:
            return [layer.alive for layer in layers]
        border = min(amount, len(pooled) - 1)
        threshold = np.partition(pooled, border)[border]
        return [len(s) - int(np.searchsorted(s, threshold, side='left')) for s in scores]


def lamp_scores(magnitudes: np.ndarray) -> np.ndarray:
    """LAMP scores of ascending magnitudes, ascending, float64, shape ``(n,)``."""
    squares = np.square(magnitudes, dtype=np.float64)
    from_here = np.cumsum(squares[::-1])[::-1]
    return np.divide(squares, from_here, out=np.zeros_like(squares), where=from_here > 0)
