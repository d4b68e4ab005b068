"""LBYL: spread a removed filter over all kept ones, in closed form and without data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmprune.graph.site import Branch, Site
from mmprune.graph.tracing import Forward
from mmprune.images.source import ImageSource
from mmprune.moments import Moments, UnknownMomentsError, branch_moments, chain_key
from mmprune.options import NonNegative
from mmprune.registry import RESTORERS
from mmprune.restorers.lbyl_auto import largest_penalty, mismatch_of, smallest_matching
from mmprune.restorers.mixing import Filters, MixingRestorer, Statistics
from mmprune.restorers.shifted_systems import ShiftedSystems, solve_one

#: λ1/λ2 of the published default, 1e-5 and 2e-3.
PROPORTION = 1 / 200


@RESTORERS.register_module()
class LBYL(MixingRestorer):
    """Leave Before You Leave (K. Lee, M. Kim, D.-W. Choi, arXiv 2502.08474).

    A removed filter's batch-norm output is approximated by a combination of all kept ones that minimises the residual
    of the filters, ``λ1`` times the error of the batch-norm bias and ``λ2`` times the squared coefficients. Producers
    without a batch norm right behind them, linear layers or convs, use the form of fully connected layers: ridge
    regression of the filter (bias as one more feature) on the kept ones with a free intercept and penalty ``λ2``.

    Channels whose ``|γ|`` or running variance is practically zero are constant maps: kept ones take no part, removed
    ones are only cut. Depthwise convs on the way are only cut too: the reader behind them takes the mixing.

    Examples:
        >>> restorer = RESTORERS.build(dict(type='LBYL', lambda1=1e-5, lambda2=2e-3))
        >>> restorer.prepare(sites)
        >>> restorer.restore_site(sites[0], keep)
    """

    def __init__(
        self,
        mode: Literal['reference', 'exact'] = 'reference',
        lambda1: Literal['auto'] | NonNegative = 1e-5,
        lambda2: Literal['auto'] | NonNegative = 2e-3,
    ) -> None:
        """Configure the repair.

        Args:
            mode: 'reference' is what the published program solves (variance in place of the deviation, a scalar in
                place of the rank-one term, coefficients before normalisation); 'exact' is the derived optimum.
            lambda1: Weight of the batch-norm bias error, or 'auto': 1/200 of ``lambda2``, the published proportion.
            lambda2: Weight of the squared coefficients, or 'auto'. For every layer behind a batch norm: the smallest
                whose outputs are distributed about as closely to the dense ones as any, under a Gaussian model of the
                activations. Elsewhere: the largest that gives up at most 1 % of what the kept filters can explain of
                the removed ones. No data in either case.
        """
        super().__init__()
        self.mode, self.lambda1, self.lambda2 = mode, lambda1, lambda2
        self._moments: dict[tuple, Moments] = {}

    def prepare(
        self, sites: Sequence[Site], forward: Forward | None = None, images: ImageSource | None = None
    ) -> None:
        """Remember the original filters, and for an automatic λ2 what the norms tell about the activations."""
        super().prepare(sites, forward, images)
        self._moments = {}
        if self.lambda2 == 'auto':
            for site in sites:
                for branch in site.branches:
                    with suppress(UnknownMomentsError):
                        self._moments[site.name, chain_key(branch)] = branch_moments(site, branch)

    def restore_model(self, model: nn.Module, forward: Forward, images: ImageSource | None) -> None:
        """Nothing is left to do; forget what was remembered."""
        super().restore_model(model, forward, images)
        self._moments = {}

    def coefficients(
        self,
        site: Site,
        filters: Filters,
        norm: Statistics | None,
        keep: Tensor,
        removed: Tensor,
        branches: Sequence[Branch],
    ) -> Tensor:
        """The rows of ``Z`` for the removed units, float64, shape ``(n - m, m)``."""
        if norm is None:
            return ridge(filters.with_bias(), keep, removed, self.lambda2)
        chain = chain_key(branches[0])
        moments = self._moments.get((site.name, chain))
        alike = [branch for branch in branches if chain_key(branch) == chain]
        mismatch = None if moments is None else mismatch_of(alike, moments, keep, removed)
        return normalised(
            filters.rows, norm, keep, removed, self.lambda1, self.lambda2, self.mode == 'exact', mismatch
        )


@dataclass(frozen=True)
class Problem:
    """The systems ``(G + q_i² M) α_i = Xᵀw_i + λ1 q_i (q_i μ_i − β_i) a`` of one layer, without the λs.

    Attributes:
        gram: ``G = XᵀX`` of the kept filters, shape ``(m, m)``.
        cross: ``Xᵀw_i``, shape ``(m, q)``.
        energy: ``‖w_i‖²``, shape ``(q,)``.
        slope: ``q_i = γ_i/σ_i`` of the removed filters, shape ``(q,)``.
        shift: ``q_i μ_i − β_i``, shape ``(q,)``.
        spread: ``σ_j/γ_j`` of the kept filters, shape ``(m,)``; ``K_ij = q_i · spread_j``.
        offset: ``a_j = μ_j − σ_j β_j/γ_j``, shape ``(m,)``.
        exact: Whether the bias error enters as the outer product ``a aᵀ`` and the result is ``K ∘ α``.
    """

    gram: Tensor
    cross: Tensor
    energy: Tensor
    slope: Tensor
    shift: Tensor
    spread: Tensor
    offset: Tensor
    exact: bool

    def penalty(self, lambda1: float, lambda2: float) -> tuple[Tensor, Tensor | None]:
        """``M`` as its diagonal and the vector of its rank-one part, both of shape ``(m,)``."""
        diagonal, vector = lambda2 * self.spread.square(), math.sqrt(lambda1) * self.offset
        return (diagonal, vector) if self.exact else (diagonal + vector.dot(vector), None)

    def solve(self, lambda1: float, lambda2: float) -> Tensor:
        """The rows of ``Z``, shape ``(q, m)``."""
        squares = self.slope.square()
        middle = float((squares.min() * squares.max()).sqrt())
        systems = ShiftedSystems(self.gram, *self.penalty(lambda1, lambda2), middle)
        return self.scales(systems.solve(squares, self.right(lambda1)))

    def right(self, lambda1: float) -> Tensor:
        """The right-hand sides, shape ``(m, q)``."""
        return self.cross + lambda1 * torch.outer(self.offset, self.slope * self.shift)

    def scales(self, solution: Tensor) -> Tensor:
        """The rows of ``Z``, shape ``(q, m)``, from solutions ``α`` of shape ``(m, q)``."""
        if self.exact:
            solution = solution * torch.outer(self.spread, self.slope)
        return solution.T

    def lambdas(
        self, lambda1: float | str, lambda2: float | str, mismatch: Callable[[Tensor], float] | None = None
    ) -> tuple[float, float]:
        """Numbers for both, choosing what is 'auto' (λ2 always as if λ1 had the published proportion to it)."""
        if isinstance(lambda2, str):
            penalty, squares = self.penalty(PROPORTION, 1.0), self.slope.square()
            if mismatch is None:
                lambda2 = largest_penalty(self.gram, self.cross, self.energy, penalty, squares)
            else:
                lambda2 = smallest_matching(
                    self.gram,
                    penalty,
                    squares,
                    lambda systems, value: self.scales(systems.rough(value * squares, self.right(PROPORTION * value))),
                    mismatch,
                )
        return (PROPORTION * lambda2 if isinstance(lambda1, str) else lambda1), lambda2


def layer_problem(rows: Tensor, norm: Statistics, keep: Tensor, removed: Tensor, exact: bool) -> Problem:
    """Collect what a layer's systems are made of; all units named must be alive."""
    kept, gone = norm.select(keep), norm.select(removed)
    sigma_kept = (kept.var + kept.eps).sqrt() if exact else kept.var
    sigma_gone = (gone.var + gone.eps).sqrt() if exact else gone.var
    slope, spread = gone.gamma / sigma_gone, sigma_kept / kept.gamma
    design, target = rows[keep].double(), rows[removed].double()
    return Problem(
        gram=design @ design.T,
        cross=design @ target.T,
        energy=target.square().sum(1),
        slope=slope,
        shift=slope * gone.mean - gone.beta,
        spread=spread,
        offset=kept.mean - spread * kept.beta,
        exact=exact,
    )


def normalised(
    rows: Tensor,
    norm: Statistics,
    keep: Tensor,
    removed: Tensor,
    lambda1: float | str,
    lambda2: float | str,
    exact: bool = False,
    mismatch: Callable[[Tensor], float] | None = None,
) -> Tensor:
    """Coefficients of removed filters behind a batch norm.

    Args:
        rows: All filters of the layer as rows, shape ``(n, d)``.
        norm: The batch norm behind them.
        keep: Kept units, shape ``(m,)``.
        removed: Removed units, shape ``(q,)``.
        lambda1: Weight of the batch-norm bias error, or 'auto'.
        lambda2: Weight of the squared coefficients, or 'auto'; infinite is a plain cut.
        exact: The derived optimum instead of the published program's.
        mismatch: For an automatic λ2: how far off the repaired readers are with given coefficients.

    Returns:
        Shape ``(q, m)``, float64.
    """
    coefficients = norm.gamma.new_zeros(len(removed), len(keep))
    left, right = norm.alive[removed].nonzero().flatten(), norm.alive[keep].nonzero().flatten()
    if len(left) and len(right) and lambda2 != math.inf:
        problem = layer_problem(rows, norm, keep[right], removed[left], exact)

        def spread(scales: Tensor) -> Tensor:
            return coefficients.index_put((left[:, None], right), scales)

        lambdas = problem.lambdas(lambda1, lambda2, mismatch and (lambda scales: mismatch(spread(scales))))
        coefficients = spread(problem.solve(*lambdas))
    return coefficients


def ridge(rows: Tensor, keep: Tensor, removed: Tensor, lambda2: float | str) -> Tensor:
    """Coefficients of removed filters without a batch norm: ridge regression with a free intercept.

    Args:
        rows: All filters with their bias, shape ``(n, d)``.
        keep: Kept units, shape ``(m,)``.
        removed: Removed units, shape ``(q,)``.
        lambda2: Penalty on the squared coefficients, or 'auto'; the intercept goes free and is dropped.

    Returns:
        Shape ``(q, m)``, float64.
    """
    if lambda2 == math.inf or not len(removed):
        return rows.new_zeros(len(removed), len(keep), dtype=torch.float64)
    rows = rows.double() - rows.double().mean(1, keepdim=True)
    design, target = rows[keep], rows[removed]
    gram, cross = design @ design.T, design @ target.T
    unit = torch.ones(len(keep), dtype=rows.dtype, device=rows.device)
    if isinstance(lambda2, str):
        lambda2 = largest_penalty(gram, cross, target.square().sum(1), (unit, None), unit.new_ones(len(removed)))
    return solve_one(gram + lambda2 * torch.diag(unit), cross).T
