"""Structured optimal-brain-surgeon elimination: which unit is cheapest to lose, again and again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmprune.moments.repair import ridge

_BLOCK = 64
_TINY = 1e-300


def eliminate(weight: Tensor, covariance: Tensor, lam: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Remove all units one by one, each time the one whose loss costs the least after the best compensation.

    With ``H`` the damped covariance, removing unit ``i`` costs ``|W_i|^2 / [H^-1]_ii`` and changes the others by
    ``-W_i H^-1_ji / [H^-1]_ii``. Only the Gram matrix of ``W`` is carried along, so the time is O(n^3) whatever the
    size of the reader, and rank-one changes are collected into blocks before they touch the matrices.

    Args:
        weight: Reader weights, first dimension ``n``; for correlated taps multiply them by a factor of the taps'
            correlation, for several readers stack them.
        covariance: Covariance of the units, shape ``(n, n)``.
        lam: Ridge as a share of the mean variance.

    Returns:
        The order of elimination (units, the first goes first) and the cost of each step in that order, float64, both
        of shape ``(n,)``; the squared error left when ``k`` units are gone is the sum of the first ``k`` costs.
    """
    rows = weight.double().flatten(1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(ridge(covariance.double(), lam))).numpy()
    gram = (rows @ rows.T).numpy()
    units = np.arange(len(gram))
    order: list[np.ndarray] = []
    costs: list[np.ndarray] = []
    while len(units):
        gone, cost, a, b = _eliminate_block(gram, inverse, min(_BLOCK, len(units)))
        order.append(units[gone])
        costs.append(cost)
        left = np.setdiff1d(np.arange(len(units)), gone)
        units, a, b = units[left], a[:, left], b[:, left]
        cross = a.T @ b
        inverse = inverse[np.ix_(left, left)] - a.T @ a
        gram = gram[np.ix_(left, left)] - cross - cross.T
    return torch.from_numpy(np.concatenate(order)), torch.from_numpy(np.concatenate(costs))


def _eliminate_block(gram: np.ndarray, inverse: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
    """A few eliminations whose effect is ``inverse - A' A`` and ``gram - A' B - B' A``; returns units, costs, A, B."""
    a, b = np.zeros((2, steps, len(gram)))
    energy, curvature = gram.diagonal().copy(), inverse.diagonal().copy()
    gone, costs = np.zeros(steps, dtype=int), np.zeros(steps)
    for k in range(steps):
        cost = np.maximum(energy, 0) / np.maximum(curvature, _TINY)
        cost[gone[:k]] = np.inf
        i = cost.argmin()
        gone[k], costs[k] = i, cost[i]
        root = max(curvature[i], _TINY) ** 0.5
        column = (inverse[i] - a[:k, i] @ a[:k]) / root
        product = gram[i] - b[:k, i] @ a[:k] - a[:k, i] @ b[:k]
        a[k], b[k] = column, product / root - column * (energy[i] / (2 * root * root))
        curvature -= column * column
        energy -= 2 * column * b[k]
    return gone, costs, a, b


def elimination_scores(order: Tensor, costs: Tensor) -> Tensor:
    """Scores in unit order that sort by elimination, shape ``(n,)``.

    The value of a unit is the largest cost met up to its elimination: what it takes to get rid of it once all that
    score less are gone. Equal values are told apart by the order, far below any meaning.
    """
    peak = costs.cummax(dim=0).values
    steps = torch.arange(len(order), dtype=torch.float64)
    rising = peak * (1 + 1e-12 * steps) + 1e-300 * steps
    scores = torch.empty_like(rising)
    scores[order] = rising
    return scores
