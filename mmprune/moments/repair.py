"""Least squares of activations, and what it does to the statistics of the next layer.

Reader weights are written ``(n, o, t)``: unit × output × tap, as :meth:`mmprune.graph.site.Branch.read_weight` gives
them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmprune.surgery.slicing import complement


def ridge(covariance: Tensor, lam: float) -> Tensor:
    """``covariance + lam * mean variance * I``."""
    damped = covariance.clone()
    damped.diagonal().add_(_ridge_of(covariance, lam))
    return damped


def _ridge_of(covariance: Tensor, lam: float) -> Tensor:
    return lam * covariance.diagonal().mean().clamp_min(1e-30)


def reconstruction(
    mean: Tensor, covariance: Tensor, keep: Tensor, lam: float = 1e-2, intercept: bool = True
) -> tuple[Tensor, Tensor]:
    """Removed units as an affine function of the kept ones, ``f_Q = Z' f_P + t``, by ridge regression.

    Args:
        mean: Mean of the units, shape ``(n,)``.
        covariance: Covariance of the units, shape ``(n, n)``.
        keep: Sorted kept units, shape ``(m,)``.
        lam: Ridge as a share of the mean variance.
        intercept: Whether the next layer can take up a constant; if not, raw second moments are fitted and ``t`` is 0.

    Returns:
        ``Z`` of shape ``(m, n - m)`` and ``t`` of shape ``(n - m,)``.
    """
    gone = complement(keep, mean.shape[0])
    among, across = covariance[keep[:, None], keep].double(), covariance[keep[:, None], gone].double()
    if not intercept:
        among, across = among.addr_(mean[keep], mean[keep]), across.addr_(mean[keep], mean[gone])
    among.diagonal().add_(_ridge_of(covariance, lam))
    mix = torch.linalg.solve(among, across) if len(gone) else across
    constant = mean[gone] - mix.T @ mean[keep] if intercept else torch.zeros_like(mean[gone])
    return mix, constant


def mixed_weight(weight: Tensor, keep: Tensor, mix: Tensor) -> Tensor:
    """Reader weights ``(n, o, t)`` in which the kept units stand in for the removed ones, which become zero."""
    gone = complement(keep, weight.shape[0])
    gained = (mix @ weight[gone].flatten(1)).reshape(len(keep), *weight.shape[1:])
    return weight.clone().index_add_(0, keep, gained).index_fill_(0, gone, 0)


def output_mean(weight: Tensor, mean: Tensor, coverage: Tensor | None = None) -> Tensor:
    """Mean of a reader's outputs (without its bias) over all positions, shape ``(o,)``.

    Args:
        weight: Shape ``(n, o, t)``.
        mean: Means of the units, shape ``(n,)``.
        coverage: Share of positions at which each tap lies inside the map, shape ``(t,)``; defaults to all.
    """
    return mean @ (weight.sum(dim=2) if coverage is None else weight @ coverage)


def output_variance(weight: Tensor, covariance: Tensor, taps: Tensor) -> Tensor:
    """Variance of a reader's outputs, ``sum W_ia C_ij S_ab W_jb``, shape ``(o,)``.

    Args:
        weight: Shape ``(n, o, t)``.
        covariance: Covariance of the units, shape ``(n, n)``.
        taps: Correlation of the taps, shape ``(t, t)``.
    """
    units, outputs, count = weight.shape
    weight = weight.to(covariance.dtype)
    seen = (covariance @ weight.flatten(1)).reshape(units, outputs, count)
    if count == 1:
        return (seen * weight).sum(dim=(0, 2)).double()
    return torch.einsum('iob,ioa,ab->o', seen, weight, taps.to(weight.dtype)).double()
