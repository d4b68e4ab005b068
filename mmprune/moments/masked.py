"""Statistics of the batch norm behind a layer whose weights are masked."""

from __future__ import annotations

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmprune.moments.repair import output_mean, output_variance


def masked_statistics(
    dense: Tensor, masked: Tensor, mean: Tensor, covariance: Tensor, taps: Tensor
) -> tuple[Tensor, Tensor]:
    """Change of a layer's output mean and quotient of its output variances when weights are masked.

    Args:
        dense: Weights before, shape ``(n, o, t)``: input unit × output × tap.
        masked: Weights after, same shape.
        mean: Mean of the input units, shape ``(n,)``.
        covariance: Covariance of the input units, shape ``(n, n)``.
        taps: Correlation of the taps, shape ``(t, t)``.

    Returns:
        ``mean_after - mean_before`` and ``variance_after / variance_before``, both of shape ``(o,)``.
    """
    before, after = (output_variance(w, covariance, taps) for w in (dense, masked))
    quotient = (after / before.clamp_min(1e-30)).where(before > 0, before.new_ones(()))
    return output_mean(masked - dense, mean), quotient


def correct_norm(norm: _BatchNorm, mean_shift: Tensor | None, var_scale: Tensor | None) -> None:
    """Move a batch norm's running statistics in place: ``mean += mean_shift``, ``var *= var_scale``."""
    if mean_shift is not None and norm.running_mean is not None:
        norm.running_mean += mean_shift.to(norm.running_mean)
    if var_scale is not None and norm.running_var is not None:
        norm.running_var *= var_scale.to(norm.running_var)
