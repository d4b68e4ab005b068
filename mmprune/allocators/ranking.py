"""The scores of a layer as allocators need them: checked, sorted, without units that are already gone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmprune.allocators.base import Layer


def sorted_scores(layer: Layer, owner: str, allow_negative: bool = False) -> np.ndarray:
    """Scores of the alive units, ascending, shape ``(alive,)``.

    Args:
        layer: The layer; units that are already removed have its lowest scores.
        owner: Name of the allocator, for messages.
        allow_negative: Whether the allocator can make sense of scores below zero.
    """
    if layer.scores is None:
        raise ValueError(f'criterion: missing; {owner} compares scores, but {layer.name} has none')
    scores = np.sort(layer.scores.detach().cpu().numpy(), axis=None)
    if len(scores) != layer.width:
        raise ValueError(f'criterion: gave {len(scores)} scores for the {layer.width} units of {layer.name}')
    # NaN sorts to the end, so the two ends show every kind of bad value.
    if len(scores) and not (np.isfinite(scores[0]) and np.isfinite(scores[-1])):
        raise ValueError(f'criterion: the scores of {layer.name} contain NaN or Inf')
    if len(scores) and scores[0] < 0 and not allow_negative:
        raise ValueError(
            f'criterion: {layer.name} has negative scores (down to {scores[0]:.4g}), but {owner} '
            'needs scores >= 0; choose another criterion (e.g. L2Norm; BNScale without signed=True)'
        )
    return scores[layer.width - layer.alive :]


def count_smallest(scores: Sequence[np.ndarray], amount: int) -> list[int]:
    """Number of the ``amount`` smallest scores of all layers together that lie in each layer.

    Of units that tie at the border, those of earlier layers count first.

    Args:
        scores: Sorted scores per layer.
        amount: Number of scores to count, from 0 to the number of all scores.
    """
    if amount <= 0:
        return [0] * len(scores)
    border = np.partition(np.concatenate(scores), amount - 1)[amount - 1]
    counts = [int(np.searchsorted(s, border, side='left')) for s in scores]
    spare = amount - sum(counts)
    for i, s in enumerate(scores):
        ties = min(spare, int(np.searchsorted(s, border, side='right')) - counts[i])
        counts[i] += ties
        spare -= ties
    return counts


def count_cheapest(scores: Sequence[np.ndarray], costs: Sequence[float], amount: float) -> list[int]:
    """Units removed per layer when the smallest scores of all layers go until they cost ``amount`` together.

    Args:
        scores: Sorted scores per layer.
        costs: What one unit of each layer costs.
        amount: Cost to remove; the last unit may exceed it.
    """
    sizes = [len(s) for s in scores]
    owner = np.repeat(np.arange(len(scores)), sizes)
    order = np.argsort(np.concatenate(scores), kind='stable')
    removed = np.cumsum(np.asarray(costs, dtype=float)[owner[order]])
    # A hair of tolerance: a sum of many floats must not cost one unit more than the exact sum would.
    count = int(np.searchsorted(removed, amount * (1 - 1e-12), side='left')) + 1 if amount > 0 else 0
    return np.bincount(owner[order[:count]], minlength=len(scores)).tolist()
