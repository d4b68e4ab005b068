"""MomentOBS: structured optimal-brain-surgeon elimination on the covariance of the activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmprune.criteria.base import Criterion
from mmprune.graph.site import Branch, Site
from mmprune.graph.tracing import Example, Forward
from mmprune.images.source import ImageSource
from mmprune.moments import (
    HermiteTerms,
    Moments,
    UnknownMomentsError,
    blend,
    branch_moments,
    chain_key,
    eliminate,
    elimination_scores,
    measure_moments,
    noise_like,
    output_variance,
    reader_taps,
    retention_costs,
)
from mmprune.options import Fraction, Positive
from mmprune.registry import CRITERIA

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup


@CRITERIA.register_module()
class MomentOBS(Criterion):
    """A channel is worth the error of its readers' outputs that no linear mix of the other channels can undo.

    Channels are eliminated one by one, each time the cheapest after the best compensation by all that are left, with
    the activation covariance that follows from weights and batch norms (see
    :class:`~mmprune.restorers.moment.MomentRestoration`). The errors are shares of what the readers' outputs
    contribute to the stream that they are added to, and a score is what the network retains less of its signal by the
    elimination (:func:`~mmprune.moments.retention_costs`), so that scores compare between layers. Where no closed form
    is known (no batch norm, several producers) activations count as independent with unit variance.
    """

    def __init__(
        self,
        lam: Positive = 1e-2,
        rho: Literal['fit'] | Fraction = 'fit',
        order: HermiteTerms = 8,
        moments: Literal['closure', 'noise', 'images'] = 'closure',
    ) -> None:
        """Configure the criterion.

        Args:
            lam: Ridge as a share of the mean activation variance.
            rho: Correlation of neighbouring input pixels, or 'fit'.
            order: Terms of the Hermite series of the activation.
            moments: 'closure' (weights and batch norms alone), 'noise' (measured on noise, no data either) or
                'images'.
        """
        self.lam, self.rho, self.order, self.moments = lam, rho, order, moments
        self.needs_images = moments == 'images'
        self._measured: dict[tuple[str, tuple], Moments] = {}

    def images_for(self, example: Example, images: ImageSource | None) -> ImageSource | None:
        """The run's images, or noise of the example's shape if moments are measured on that."""
        return noise_like(example) if self.moments == 'noise' else images

    def prepare(self, groups: Sequence[ChannelGroup], forward: Forward, images: ImageSource | None) -> None:
        """Measure the moments of all readers' inputs unless they are computed."""
        self._measured.clear()
        if self.moments == 'closure' or images is None:
            return
        sites = [group.site for group in groups if group.site is not None]
        branches = {(site.name, chain_key(branch)): branch for site in sites for branch in site.branches}
        found = measure_moments(list(branches.values()), forward, images, normalise=self.moments == 'noise')
        self._measured.update(zip(branches, found))

    def scores(self, group: ChannelGroup) -> Tensor:
        """Costs of elimination, float64, shape ``(n,)``."""
        site = group.site
        if site is None or not site.branches:
            rows = torch.cat([rows.cpu() for rows in group.weights()], dim=1)
            return rows.square().sum(dim=1)
        order, costs = site_elimination(site, self.lam, self.rho, self.order, self._measured, self.needs_images)
        outputs = sum(branch.module.weight.shape[0] for branch in site.branches)
        return len(site.branches) * elimination_scores(order, retention_costs(costs / outputs))


def site_elimination(
    site: Site,
    lam: float = 1e-2,
    rho: float | str = 'fit',
    order: int = 8,
    measured: Mapping[tuple[str, tuple], Moments] | None = None,
    with_images: bool = False,
) -> tuple[Tensor, Tensor]:
    """Order and costs of eliminating a site's units, see :func:`mmprune.moments.eliminate`.

    Readers see the units through their own chains; a reader whose chain differs from the first one's is brought into
    the stack with its weights scaled to the first one's standard deviations. ``measured`` moments, by site and chain,
    are averaged with the computed ones unless they come from images.
    """
    covariances: dict[tuple, Tensor] = {}
    stack = []
    for branch in site.branches:
        key = chain_key(branch)
        if key not in covariances:
            found = (measured or {}).get((site.name, key))
            covariances[key] = _covariance(site, branch, rho, order, found, with_images)
        rows = normalised_rows(branch, covariances[key])
        first = next(iter(covariances.values()))
        if covariances[key] is not first:
            ratio = covariances[key].diagonal() / first.diagonal().clamp_min(1e-30)
            rows = rows * ratio.clamp_min(0).sqrt()[:, None]
        stack.append(rows)
    return eliminate(torch.cat(stack, dim=1), next(iter(covariances.values())), lam)


def _covariance(
    site: Site, branch: Branch, rho: float | str, order: int, measured: Moments | None, with_images: bool
) -> Tensor:
    if measured is not None and with_images:
        return measured.covariance
    try:
        computed = branch_moments(site, branch, rho, order)
    except UnknownMomentsError:
        return torch.eye(site.width, dtype=torch.float64) if measured is None else measured.covariance
    return (computed if measured is None else blend(measured, computed)).covariance


def normalised_rows(branch: Branch, covariance: Tensor) -> Tensor:
    """Reader weights as rows ``(n, o·t)`` whose squares are shares of the variances of the streams they feed.

    The taps are decorrelated first, so that plain squares are right for correlated pixels too.
    """
    weight = branch.read_weight().cpu()
    taps = reader_taps(branch)
    norm = branch.next_norm
    if norm is not None and norm.running_var is not None:
        variance = norm.running_var.detach().double().cpu()
    else:
        variance = output_variance(weight, covariance, taps)
    scale = torch.where(variance > 0, variance.clamp_min(1e-30).rsqrt(), torch.zeros_like(variance))
    scale = scale * branch.share**0.5
    if taps.shape[0] > 1:
        weight = weight @ torch.linalg.cholesky(taps)
    return (weight * scale[None, :, None]).flatten(1)
