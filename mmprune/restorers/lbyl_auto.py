"""Choosing LBYL's λ without data.

Behind a batch norm: the activations' moments follow from the norm under a Gaussian model, hence also mean and variance
of the reader's outputs, dense and repaired. The next batch norm was made for the dense ones, so what counts is how far
the two distributions are apart, more than the squared error, whose optimum shrinks the outputs. Without a batch norm
only the filters themselves are left to look at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmprune.graph.site import Branch
from mmprune.moments import Moments, output_mean, output_variance, reader_taps
from mmprune.restorers.shifted_systems import ShiftedSystems

#: Used where nothing can be measured: the published values.
DEFAULT_LAMBDA = 2e-3
#: Decades tried around the penalty that is as large as the Gram matrix of the filters.
DECADES = range(-6, 4)
#: The smallest λ is taken whose mismatch is at most this much above the best: the model is not more exact than that.
TOLERANCE = 0.3
#: Share of what can be explained of the removed filters that the penalty may cost.
GIVEN_UP = 0.01
#: So many of a reader's outputs are looked at.
MOST_OUTPUTS = 256

Penalty = tuple[Tensor, Tensor | None]


def mismatch_of(
    branches: Sequence[Branch], moments: Moments, keep: Tensor, removed: Tensor
) -> Callable[[Tensor], float]:
    """Divergence of repaired readers' outputs from the dense ones, as a function of the coefficients.

    Args:
        branches: The readers behind one chain.
        moments: Mean and covariance of the units at their inputs.
        keep: Kept units, shape ``(m,)``.
        removed: Removed units, shape ``(q,)``.

    Returns:
        A function of coefficients of shape ``(q, m)``: the Kullback–Leibler divergence of the repaired from the dense
        Gaussian, mean over the outputs and summed over the readers.
    """
    keep, removed = keep.cpu(), removed.cpu()
    covariance, mean = moments.covariance[keep][:, keep], moments.mean[keep]
    readers = []
    for branch in branches:
        weight, taps = branch.read_weight().cpu(), reader_taps(branch)
        weight = weight[:, :: -(-weight.shape[1] // MOST_OUTPUTS)]
        variance = output_variance(weight, moments.covariance, taps)
        live = variance > 1e-3 * variance.mean()
        if live.any():
            weight = weight[:, live]
            readers.append((weight[keep], weight[removed], taps, variance[live], output_mean(weight, moments.mean)))

    def mismatch(coefficients: Tensor) -> float:
        total = 0.0
        for kept, gone, taps, variance, center in readers:
            mixed = kept + torch.einsum('qm,qot->mot', coefficients.cpu(), gone)
            ratio = (output_variance(mixed, covariance, taps) / variance).clamp_min(1e-12)
            drift = (output_mean(mixed, mean) - center).square() / variance
            total += float((ratio + drift - 1 - ratio.log()).mean()) / 2
        return total

    return mismatch


def smallest_matching(
    gram: Tensor,
    penalty: Penalty,
    shifts: Tensor,
    scales: Callable[[ShiftedSystems, float], Tensor],
    mismatch: Callable[[Tensor], float],
) -> float:
    """The smallest ``λ`` that brings the readers' outputs about as close to the dense ones as any.

    Args:
        gram: ``G``, shape ``(m, m)``.
        penalty: ``M`` as its diagonal and the vector of its rank-one part (or ``None``).
        shifts: ``t_i``, shape ``(q,)``.
        scales: Coefficients of shape ``(q, m)`` from the systems ``G + t_i (λ M)`` and ``λ``.
        mismatch: Divergence at given coefficients, by :func:`mismatch_of`.
    """
    systems, unit = _systems(gram, penalty, shifts)
    if systems is None:
        return DEFAULT_LAMBDA
    tried = [unit * 10.0**decade for decade in DECADES]
    found = [mismatch(scales(systems, value)) for value in tried]
    return next(value for value, error in zip(tried, found) if not error > (1 + TOLERANCE) * min(found))


def largest_penalty(gram: Tensor, cross: Tensor, energy: Tensor, penalty: Penalty, shifts: Tensor) -> float:
    """The largest ``λ`` whose fits ``(G + λ t_i M) α_i = Xᵀw_i`` give up little of what they could explain.

    What is explained of a filter is ``1 − ‖w_i − Xα_i‖² / ‖w_i‖²``; its mean over the filters falls with ``λ`` and may
    lose the share ``GIVEN_UP`` of its value without penalty. One decomposition serves all ``λ``.

    Args:
        gram: ``G``, shape ``(m, m)``.
        cross: ``Xᵀw_i``, shape ``(m, q)``.
        energy: ``‖w_i‖²``, shape ``(q,)``.
        penalty: ``M`` as its diagonal and the vector of its rank-one part (or ``None``).
        shifts: ``t_i``, shape ``(q,)``.
    """
    used = energy > 0
    systems, unit = _systems(gram, penalty, shifts)
    if systems is None or not used.any():
        return DEFAULT_LAMBDA
    energy, cross, shifts = energy[used], cross[:, used], shifts[used]

    def share(decade: float) -> float:
        return float((systems.explained(unit * 10**decade * shifts, cross) / energy).mean())

    low, high = -8.0, 8.0
    enough = (1 - GIVEN_UP) * share(low)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= enough else (low, middle)
    return unit * 10**low


def _systems(gram: Tensor, penalty: Penalty, shifts: Tensor) -> tuple[ShiftedSystems | None, float]:
    """The systems without λ, and the λ at which a typical penalty is as large as the Gram matrix."""
    diagonal = penalty[0] if penalty[1] is None else penalty[0] + penalty[1].square()
    middle = float(gram.diagonal().median() / diagonal.median())
    if not 0 < middle < math.inf:
        return None, 0.0
    systems = ShiftedSystems(gram, *penalty, middle)
    return (systems if systems.regular else None), middle / float(shifts.log().mean().exp())
