"""Neuron Merging: move each removed filter onto the one kept filter most like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmprune.graph.site import Branch, Site
from mmprune.options import Fraction
from mmprune.registry import RESTORERS
from mmprune.restorers.mixing import Filters, MixingRestorer, Statistics


@RESTORERS.register_module()
class NeuronMerging(MixingRestorer):
    """Neuron Merging (W. Kim, S. Kim, M. Park, G. Jeon, NeurIPS 2020), LBYL's baseline.

    Every removed filter goes, rescaled, to the kept one with the best score of cosine similarity and batch-norm bias
    match. Producers without a batch norm behind them use cosine similarity alone (bias as one more feature).

    Examples:
        >>> restorer = RESTORERS.build(dict(type='NeuronMerging', threshold=0.1, lam=0.85))
    """

    def __init__(
        self,
        mode: Literal['reference', 'std', 'corrected'] = 'reference',
        threshold: float = 0.1,
        lam: Fraction = 0.85,
    ) -> None:
        """Configure the repair.

        Args:
            mode: 'reference' is the published program, whose formulas swap the removed and the kept unit and take the
                variance for the deviation; 'std' corrects only the deviation, 'corrected' both.
            threshold: A filter less similar than this (cosine) to its partner is only cut; 0 merges all, >= 1 none.
            lam: Weight of the cosine against the bias match, in [0, 1].
        """
        super().__init__()
        self.mode, self.threshold, self.lam = mode, threshold, lam

    def coefficients(
        self,
        site: Site,
        filters: Filters,
        norm: Statistics | None,
        keep: Tensor,
        removed: Tensor,
        branches: Sequence[Branch],
    ) -> Tensor:
        """The rows of ``Z`` for the removed units, float64, shape ``(n - m, m)``; at most one entry in each."""
        rows = (filters.with_bias() if norm is None else filters.rows).double()
        length = rows.norm(dim=1)
        cosine = (rows[removed] @ rows[keep].T) / torch.outer(length[removed], length[keep])
        ratio = length[removed, None] / length[keep]
        usable = torch.outer(length[removed] > 0, length[keep] > 0)
        if norm is None:
            scale, cost = ratio, -cosine
        else:
            usable &= torch.outer(norm.alive[removed], norm.alive[keep])
            scale, bias = self._scale_and_bias(ratio, norm.select(removed), norm.select(keep))
            cost = self.lam * (1 - cosine) + (1 - self.lam) * _unit_range(bias, usable)
        cost = torch.where(usable, cost, torch.inf)
        partner = cost.argmin(1)
        rank = torch.arange(len(removed), device=rows.device)
        merged = usable[rank, partner]
        if self.threshold >= 1:
            merged = torch.zeros_like(merged)
        elif self.threshold:
            merged &= cosine[rank, partner] >= self.threshold
        coefficients = rows.new_zeros(len(removed), len(keep))
        coefficients[rank[merged], partner[merged]] = scale[rank[merged], partner[merged]]
        return coefficients

    def _scale_and_bias(self, ratio: Tensor, gone: Statistics, kept: Statistics) -> tuple[Tensor, Tensor]:
        """Factor of every pair and how far its batch-norm biases are apart, both of shape ``(q, m)``."""
        gone_sigma, kept_sigma = gone.var, kept.var
        if self.mode != 'reference':
            gone_sigma, kept_sigma = (gone.var + gone.eps).sqrt(), (kept.var + kept.eps).sqrt()
        gone_slope, kept_slope = gone.gamma / gone_sigma, kept.gamma / kept_sigma
        gone_offset, kept_offset = gone.mean - gone.beta / gone_slope, kept.mean - kept.beta / kept_slope
        if self.mode == 'corrected':
            scale = ratio * gone_slope[:, None] / kept_slope
            bias = gone_slope[:, None] * (ratio * kept_offset - gone.mean[:, None]) + gone.beta[:, None]
            return scale, bias.abs()
        scale = ratio * kept_slope / gone_slope[:, None]
        bias = kept_slope * (ratio * gone_offset[:, None] - kept.mean) + kept.beta
        return scale, bias.abs() / scale


def _unit_range(bias: Tensor, usable: Tensor) -> Tensor:
    """Every row brought to [0, 1] over its usable entries; 0 where they are all equal."""
    low = torch.where(usable, bias, torch.inf).amin(1, keepdim=True)
    high = torch.where(usable, bias, -torch.inf).amax(1, keepdim=True)
    span = high - low
    return torch.where(span > 0, (bias - low) / span, 0.0)
