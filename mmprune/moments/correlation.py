"""Covariance of a conv layer's outputs when only its weights are known.

The model: input channels are uncorrelated with equal variance, and pixels of one channel correlate as ``rho`` to the
power of their distance. Everything is float64; filters are written ``(n, c, t)``: unit × input channel × tap.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmprune.graph.site import Layer

#: Values tried by :func:`fit_rho`.
RHO_GRID = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


def tap_correlation(size: Sequence[int], rho: float, shift: Sequence[float] | None = None) -> Tensor:
    """Correlation of the pixels under a kernel's taps, ``rho ** distance``.

    Args:
        size: Kernel size, e.g. ``(3, 3)``.
        rho: Correlation of neighbouring pixels, in [0, 1].
        shift: Offset of the second copy of the kernel in input pixels; defaults to none.

    Returns:
        Shape ``(t, t)`` with ``t`` the product of ``size``; entry ``(a, b)`` belongs to tap ``a`` of the first and tap
        ``b`` of the shifted kernel.
    """
    axes = [torch.arange(s, dtype=torch.float64) for s in size]
    taps = torch.stack([g.flatten() for g in torch.meshgrid(*axes, indexing='ij')], dim=1)
    moved = taps if shift is None else taps + torch.tensor(shift, dtype=torch.float64)
    distance = torch.linalg.norm(taps[:, None] - moved[None], dim=2)
    return torch.as_tensor(rho, dtype=torch.float64) ** distance


def layer_filters(layer: Layer, index: Tensor) -> Tensor:
    """Filters ``index`` of a conv or linear layer as ``(n, c, t)``, float64, on the CPU."""
    weight = layer.weight.detach().double().cpu()
    return weight.reshape(weight.shape[0], weight.shape[1], -1)[index.cpu()]


def kernel_size(layer: nn.Module) -> tuple[int, ...]:
    """Kernel size of a conv, ``(1,)`` for a linear layer."""
    return tuple(getattr(layer, 'kernel_size', (1,)))


def output_covariance(filters: Tensor, taps: Tensor, channels: Tensor | None = None) -> Tensor:
    """Covariance of a layer's outputs at one position, shape ``(n, n)``.

    Args:
        filters: Shape ``(n, c, t)``.
        taps: Correlation of the taps, shape ``(t, t)``.
        channels: Covariance of the input channels, shape ``(c, c)``; defaults to the identity.
    """
    read = filters @ taps.T
    if channels is not None:
        read = torch.einsum('cd,ndt->nct', channels, read)
    return filters.flatten(1) @ read.flatten(1).T


def output_variances(filters: Tensor, taps: Tensor) -> Tensor:
    """Diagonal of :func:`output_covariance` for uncorrelated input channels, shape ``(n,)``."""
    return ((filters @ taps.T) * filters).sum(dim=(1, 2))


def correlation(covariance: Tensor) -> Tensor:
    """Correlation matrix of a covariance matrix; units without variance correlate with none."""
    std = covariance.diagonal().clamp_min(0).sqrt()
    scale = torch.where(std > 0, 1 / std.clamp_min(1e-150), torch.zeros_like(std))
    result = (covariance * scale[:, None] * scale[None]).clamp(-1, 1)
    return result.fill_diagonal_(1)


def log_variance_error(predicted: Tensor, stored: Tensor) -> float:
    """Error of predicted against stored variances up to a common factor (variance of the log quotient)."""
    alive = stored > 1e-6 * stored.median()
    log = predicted[alive].clamp_min(1e-30).log() - stored[alive].log()
    return float(log.var(unbiased=False))


def fit_rho(filters: Tensor, size: Sequence[int], running_var: Tensor, grid: Sequence[float] = RHO_GRID) -> float:
    """The value of ``rho`` that explains a batch norm's variances best (least squares of logs, up to a constant)."""
    if filters.shape[2] == 1:
        return grid[0]
    # output variance = <sum_c w_c w_c', S>: one small product per unit serves the whole grid
    products = filters.transpose(1, 2) @ filters
    errors = [log_variance_error((products * tap_correlation(size, rho)).sum(dim=(1, 2)), running_var) for rho in grid]
    return grid[errors.index(min(errors))]
