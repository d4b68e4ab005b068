"""MomentRestoration: least squares of the activations, from batch-norm moments instead of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from mmprune.graph.site import Branch, Site
from mmprune.graph.tracing import Example, Forward
from mmprune.images.source import ImageSource
from mmprune.moments import (
    DriftCorrection,
    HermiteTerms,
    Moments,
    UnknownMomentsError,
    blend,
    branch_moments,
    chain_key,
    correct_norm,
    measure_moments,
    measure_sizes,
    mixed_weight,
    noise_like,
    norm_statistics,
    output_mean,
    output_variance,
    reader_taps,
    reconstruction,
    tap_coverage,
    watch_norms,
)
from mmprune.options import Fraction, Positive
from mmprune.registry import RESTORERS
from mmprune.restorers.base import Restorer
from mmprune.surgery.slicing import complement


@RESTORERS.register_module()
class MomentRestoration(Restorer):
    """Lets the kept channels stand in for the removed ones, as well as linear regression of the activations can.

    Mean and covariance of the activations follow from the weights and the batch norms under a Gaussian model, or are
    measured: on images, or on noise, with batch norms that use the batch's statistics so that activations have the
    scales the network was trained with (covariances are then averaged with those of the model). The readers' weights
    absorb the regression, the constant part goes into the statistics of the next batch norm (or the reader's bias),
    and the running variance of that batch norm is scaled by how much variance the repaired layer has lost.

    Where the way to the readers is no plain chain (residual sums, gates), only measured moments help.

    Example:
        >>> restorer = MomentRestoration()
        >>> restorer.restore_site(site, keep=torch.arange(8))
        ''
    """

    def __init__(
        self,
        lam: Positive = 1e-2,
        rho: Literal['fit'] | Fraction = 'fit',
        order: HermiteTerms = 8,
        variance_correction: bool = True,
        moments: Literal['noise', 'closure', 'images'] = 'noise',
        drift_correction: bool = True,
    ) -> None:
        """Configure the repair.

        Args:
            lam: Ridge of the regression as a share of the mean activation variance.
            rho: Correlation of neighbouring input pixels, or 'fit' to take the one that explains the running
                variances.
            order: Terms of the Hermite series of the activation.
            variance_correction: Whether to scale the next batch norm's variance.
            moments: 'noise' (no data; falls back to the closure where inputs are no images), 'closure' (weights and
                batch norms alone; a max pooling on the way counts as if it changed nothing), or 'images' (measured on
                the images that :meth:`prepare` gets).
            drift_correction: Whether to move all running statistics at the end as they moved on the noise (masked
                networks: or on the images); channels need ``moments='noise'``.
        """
        self.lam, self.rho, self.order = lam, rho, order
        self.variance_correction, self.drift_correction = variance_correction, drift_correction
        self.moments, self.needs_chain = moments, moments == 'closure'
        self.needs_images = moments == 'images'
        self.uses = {'closure': 'no data', 'noise': 'no data (noise)', 'images': 'images, no labels'}[moments]
        self.measured: dict[tuple[str, tuple], Moments] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._drift = DriftCorrection()

    def images_for(self, example: Example, images: ImageSource | None) -> ImageSource | None:
        """The images that :meth:`prepare` is given: the run's own, or noise of the example's shape."""
        if self.moments == 'images':
            return images
        return noise_like(example, only_one=self.moments == 'closure')

    def prepare(
        self, sites: Sequence[Site], forward: Forward | None = None, images: ImageSource | None = None
    ) -> None:
        """Measure moments, sizes or drift on the dense network, as far as they are asked for."""
        self.measured.clear()
        self._sizes.clear()
        self._drift.remember({})
        if forward is None or images is None:
            if self.needs_images:
                raise ValueError(
                    "moments='images' needs images: give `images` (real or synthetic batches), "
                    "or use moments='noise' or 'closure'"
                )
            return
        branches = {(site.name, chain_key(b)): b for site in sites for b in site.branches}
        if self.moments == 'closure':
            self._sizes = dict(
                zip((key[0] for key in branches), measure_sizes(list(branches.values()), forward, images))
            )
            return
        if self.moments == 'images' and not sites and self.drift_correction:  # a masked network: only norms can move
            self._drift.remember(norm_statistics(forward, images))
            return
        normalise = self.moments == 'noise'
        with watch_norms() as statistics:
            found = measure_moments(list(branches.values()), forward, images, normalise)
        self.measured.update(zip(branches, found))
        if normalise and self.drift_correction:
            self._drift.remember(statistics())

    def restore_site(self, site: Site, keep: Tensor) -> str:
        """Repair all readers of one site."""
        if len(keep) == site.width:
            return ''
        moments: dict[tuple, Moments] = {}
        try:
            for branch in site.branches:
                key = chain_key(branch)
                if key not in moments:
                    moments[key] = self._moments(site, branch)
        except UnknownMomentsError as reason:
            return str(reason)
        for branch in site.branches:
            self._repair(branch, keep.cpu(), moments[chain_key(branch)])
        self._drift.cut(site, keep)
        return ''

    def restore_model(self, model: nn.Module, forward: Forward, images: ImageSource | None) -> None:
        """Move running statistics as they moved on the noise."""
        self.measured.clear()
        if images is not None:
            self._drift.apply(forward, images)

    def _moments(self, site: Site, branch: Branch) -> Moments:
        measured = self.measured.pop((site.name, chain_key(branch)), None)  # large: they go as the repair proceeds
        if self.needs_images:
            if measured is None:
                raise UnknownMomentsError(f'nothing was measured for {branch.name}')
            return measured
        try:
            computed = branch_moments(site, branch, self.rho, self.order)
        except UnknownMomentsError:
            if measured is None:
                raise
            return measured
        if measured is not None:
            return blend(measured, computed)
        return replace(computed, size=self._sizes.get(site.name, ()))

    @torch.no_grad()
    def _repair(self, branch: Branch, keep: Tensor, moments: Moments) -> None:
        norm, bias = branch.next_norm, branch.module.bias
        stored = None if norm is None else norm.running_var
        mix, constant = reconstruction(
            moments.mean, moments.covariance, keep, self.lam, intercept=stored is not None or bias is not None
        )
        weight, taps = branch.read_weight().cpu(), reader_taps(branch)
        coverage = tap_coverage(branch.module, moments.size).repeat(branch.index.shape[1])
        shift = output_mean(weight[complement(keep, len(weight))], constant, coverage)
        mixed = mixed_weight(weight, keep, mix)
        if norm is not None and stored is not None:
            scale = None
            if self.variance_correction:
                before, after = (output_variance(w, moments.covariance, taps) for w in (weight, mixed))
                scale = _variance_scale(branch, stored, before, after)
            correct_norm(norm, -shift, scale)
        elif bias is not None:
            bias += shift.to(bias)
        branch.write_weight(mixed)


def _variance_scale(branch: Branch, stored: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Factor of the next batch norm's variance, shape ``(o,)``, as the reader's variance went with it."""
    quotient = torch.where(old > 0, new / old.clamp_min(1e-30), torch.ones_like(old))
    inputs = branch.module.weight.shape[1]
    if branch.index.numel() == inputs:
        return quotient
    # other sites feed this reader too (a concatenation): only this site's share of the variance changes
    share = (old / stored.detach().double().cpu().clamp_min(1e-30)).clamp(max=1)
    return 1 + share * (quotient - 1)
