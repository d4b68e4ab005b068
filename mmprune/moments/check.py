"""Goodness of fit of the moment model on a given network: a self-check without data, and one with images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmprune.graph.site import Norm, Site
from mmprune.graph.tracing import Forward
from mmprune.images.source import ImageSource
from mmprune.moments.chain import Moments, UnknownMomentsError, branch_moments
from mmprune.moments.correlation import (
    correlation,
    fit_rho,
    kernel_size,
    layer_filters,
    output_variances,
    tap_correlation,
)
from mmprune.moments.measure import measure_moments


@dataclass(frozen=True)
class MomentCheck:
    """Predictions of the moment model for one site, against what is known.

    Attributes:
        name: The site.
        rho: Pixel correlation that explains the running variances best; None without a batch norm.
        variance_correlation: Correlation of predicted and stored log running variances, in [-1, 1].
        mean_error: RMS error of the predicted activation means in measured standard deviations (with images).
        std_error: Mean relative error of the predicted standard deviations (with images).
        covariance_correlation: Correlation of predicted and measured off-diagonal correlations (with images).
        problem: Why the model says nothing of this site.
    """

    name: str
    rho: float | None = None
    variance_correlation: float | None = None
    mean_error: float | None = None
    std_error: float | None = None
    covariance_correlation: float | None = None
    problem: str = ''


def check_moments(
    sites: Sequence[Site], forward: Forward | None = None, images: ImageSource | None = None
) -> list[MomentCheck]:
    """Compare the model with the running variances, and with measured activations where images are given.

    Args:
        sites: What to check.
        forward: Runs the network on a batch; needed with ``images``.
        images: Batches of normalised images of shape (N, C, H, W).
    """
    usable = [site for site in sites if not site.problem and site.branches]
    measured: dict[str, Moments] = {}
    if images is not None:
        if forward is None:
            raise ValueError('check_moments: images need the forward that they run through')
        found = measure_moments([site.branches[0] for site in usable], forward, images)
        measured = {site.name: moments for site, moments in zip(usable, found)}
    return [_check(site, measured.get(site.name)) for site in sites]


def _check(site: Site, measured: Moments | None) -> MomentCheck:
    if site.problem or not site.branches:
        return MomentCheck(site.name, problem=site.problem or 'nothing reads it')
    branch = site.branches[0]
    rho = agreement = None
    first = branch.chain[0] if branch.chain else None
    norm = first if isinstance(first, Norm) and first.module.running_var is not None else None
    if norm is not None and site.producer is not None and site.width > 2:
        filters, size = layer_filters(site.producer, site.producer_index), kernel_size(site.producer)
        stored = norm.parameters()[3].cpu()
        rho = fit_rho(filters, size, stored)
        predicted = output_variances(filters, tap_correlation(size, rho))
        agreement = pearson(predicted.clamp_min(1e-30).log(), stored.clamp_min(1e-30).log())
    if measured is None:
        return MomentCheck(site.name, rho, agreement)
    try:
        model = branch_moments(site, branch)
    except UnknownMomentsError as reason:
        return MomentCheck(site.name, rho, agreement, problem=str(reason))
    covariance = measured.covariance.double()
    std = covariance.diagonal().clamp_min(0).sqrt()
    alive = std > 1e-6 * std.max().clamp_min(1e-30)
    mean_error = ((model.mean - measured.mean)[alive] / std[alive]).square().mean().sqrt()
    std_error = (model.covariance.diagonal().clamp_min(0).sqrt()[alive] / std[alive] - 1).abs().mean()
    pairs = torch.triu(torch.ones(int(alive.sum()), int(alive.sum()), dtype=torch.bool), diagonal=1)
    ours, theirs = (correlation(c[alive][:, alive])[pairs] for c in (model.covariance, covariance))
    return MomentCheck(site.name, rho, agreement, float(mean_error), float(std_error), pearson(ours, theirs))


def pearson(a: Tensor, b: Tensor) -> float | None:
    """Correlation coefficient of two vectors; None where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = a.norm() * b.norm()
    return float(a @ b / scale) if len(a) > 1 and scale > 0 else None
