"""The base of the data-free restorers: filters as rows, the norm behind them, and mixing a reader's inputs.

Both LBYL and Neuron Merging express every removed unit by the kept ones, ``map_i ≈ Σ_j z_ij map_j``. Written as the
scale matrix ``Z`` of shape ``(n, m)`` (kept rows are unit vectors), the reader's new weight is
``W'[:, j] + Σ_i z_ij W'[:, i]`` for every kept ``j``; only the rows of the removed units have to be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmprune.graph.site import Branch, Layer, Norm, Site
from mmprune.graph.tracing import Forward
from mmprune.images.source import ImageSource
from mmprune.restorers.base import Restorer
from mmprune.surgery.slicing import complement

#: A unit whose ``|γ|`` or running variance lies below is a constant map: it neither replaces others nor is replaced.
GAMMA_FLOOR, VARIANCE_FLOOR = 1e-8, 1e-12


@dataclass(frozen=True)
class Filters:
    """The producer of a site, in its own dtype.

    Attributes:
        rows: Filters as rows, shape ``(n, c·kh·kw)``.
        bias: Shape ``(n,)``, or ``None``.
    """

    rows: Tensor
    bias: Tensor | None

    def with_bias(self) -> Tensor:
        """The rows with the bias as one more feature, where there is one."""
        return self.rows if self.bias is None else torch.cat([self.rows, self.bias[:, None]], dim=1)


@dataclass(frozen=True)
class Statistics:
    """Batch-norm vectors of shape ``(n,)`` in unit order, float64; ``alive`` is false where the map is constant."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    var: Tensor
    eps: float

    @property
    def alive(self) -> Tensor:
        """Mask of the maps that vary at all, bool, shape ``(n,)``."""
        return (self.gamma.abs() > GAMMA_FLOOR) & (self.var > VARIANCE_FLOOR)

    def select(self, index: Tensor) -> Statistics:
        """The statistics of some units."""
        return Statistics(self.gamma[index], self.beta[index], self.mean[index], self.var[index], self.eps)


def leading_norm(branch: Branch) -> Norm | None:
    """The batch norm that follows the producer directly on the way to this reader, if there is one."""
    return branch.chain[0] if branch.chain and isinstance(branch.chain[0], Norm) else None


def stored_statistics(norm: Norm, filters: Filters) -> Statistics:
    """Statistics that a norm holds; the producer's own bias moves into the mean, ``BN(w∗x + b) = BN_{μ−b}(w∗x)``.

    A norm without running statistics takes off whatever mean a batch has; its variances are those of white inputs.
    """
    gamma, beta, mean, var = norm.parameters()
    if norm.module.running_var is None:
        return Statistics(gamma, beta, mean, filters.rows.double().square().sum(dim=1), norm.module.eps)
    mean = mean if filters.bias is None else mean - filters.bias.double()
    return Statistics(gamma, beta, mean, var, norm.module.eps)


def scale_matrix(width: int, keep: Tensor, coefficients: Tensor) -> Tensor:
    """The whole ``Z`` of shape ``(n, m)`` from its rows for the removed units (``(n - m, m)``)."""
    matrix = coefficients.new_zeros(width, len(keep))
    matrix[keep, torch.arange(len(keep), device=keep.device)] = 1
    matrix[complement(keep, width)] = coefficients
    return matrix


def mix_reader(branch: Branch, keep: Tensor, coefficients: Tensor) -> None:
    """Add the removed input units of a reader onto its kept ones, in place; float32 or the weight's dtype if wider.

    Args:
        branch: The reader; a unit's whole spatial block (linear layer behind a flatten) is mixed as one.
        keep: Sorted kept units, shape ``(m,)``.
        coefficients: ``Z``'s rows for the removed units in ascending order, shape ``(n - m, m)``.
    """
    weight = branch.module.weight.data
    flat = weight.reshape(*weight.shape[:2], -1)  # (o, inputs, kh*kw); a view of a contiguous weight
    index, keep = branch.index.to(weight.device), keep.to(weight.device)
    coefficients = coefficients.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
    used = coefficients.any(dim=1)  # rows of zeros: plain removal
    if not used.any():
        return
    removed = complement(keep, len(index))[used]
    source = flat[:, index[removed]].movedim(1, -1).to(coefficients.dtype)  # (o, s, taps, q)
    change = (source.flatten(0, -2) @ coefficients[used]).reshape(*source.shape[:-1], -1).movedim(-1, 1)
    flat[:, index[keep]] = (flat[:, index[keep]] + change).to(weight.dtype)
    if flat.data_ptr() != weight.data_ptr():
        weight.copy_(flat.reshape(weight.shape))


class MixingRestorer(Restorer):
    """Base of the restorers that only mix the readers' inputs, from the dense network's own weights.

    ``Z`` comes from the producers' *original* filters, which :meth:`prepare` therefore remembers, and is applied to
    the readers' current weights.
    Subclasses say in :meth:`coefficients` how a removed filter is expressed by the kept ones.
    """

    def __init__(self) -> None:
        self._filters: dict[str, Filters] = {}

    def coefficients(
        self,
        site: Site,
        filters: Filters,
        norm: Statistics | None,
        keep: Tensor,
        removed: Tensor,
        branches: Sequence[Branch],
    ) -> Tensor:
        """The rows of ``Z`` for the removed units.

        Args:
            site: The site, whose producer may have changed since.
            filters: The producer's original filters.
            norm: The batch norm behind the producer, ``None`` when there is none (the fully connected form).
            keep: Sorted kept units, shape ``(m,)``.
            removed: Sorted removed units, shape ``(n - m,)``.
            branches: The readers behind this norm.

        Returns:
            Shape ``(n - m, m)``, float64.
        """
        raise NotImplementedError

    def prepare(
        self, sites: Sequence[Site], forward: Forward | None = None, images: ImageSource | None = None
    ) -> None:
        """Remember the original filters of every site."""
        self._filters = {
            site.name: _own_filters(site.producer, site.producer_index)
            for site in sites
            if site.producer is not None and not _unsupported(site)
        }

    def restore_site(self, site: Site, keep: Tensor) -> str:
        """Mix the site's readers; branches with different norms in front get their own ``Z``."""
        if reason := _unsupported(site):
            return reason
        if site.name not in self._filters:
            raise RuntimeError(f'{type(self).__name__}: site {site.name!r} was not among the sites given to prepare()')
        filters = self._filters[site.name]
        keep = keep.to(filters.rows.device)
        removed = complement(keep, site.width)
        for branches in _by_norm(site.branches):
            norm = leading_norm(branches[0])
            statistics = None if norm is None else stored_statistics(norm, filters)
            coefficients = self.coefficients(site, filters, statistics, keep, removed, branches)
            for branch in branches:
                mix_reader(branch, keep, coefficients)
        return ''

    def restore_model(self, model: nn.Module, forward: Forward, images: ImageSource | None) -> None:
        """Nothing is left to do; forget the remembered filters."""
        self._filters = {}


def _unsupported(site: Site) -> str:
    if site.problem:
        return site.problem
    if site.producer is None:
        return 'several layers make these channels'
    if getattr(site.producer, 'transposed', False) or getattr(site.producer, 'groups', 1) > 1:
        return f'{site.producer_name} is a grouped or transposed conv'
    return ''


def _own_filters(producer: Layer, index: Tensor) -> Filters:
    index = index.to(producer.weight.device)
    rows = producer.weight.detach().flatten(1)[index]  # indexing copies
    return Filters(rows, None if producer.bias is None else producer.bias.detach()[index])


def _by_norm(branches: Sequence[Branch]) -> list[list[Branch]]:
    """Branches behind the same norm share one ``Z``."""
    shared: dict[tuple | None, list[Branch]] = {}
    for branch in branches:
        norm = leading_norm(branch)
        key = None if norm is None else (id(norm.module), tuple(norm.index.tolist()))
        shared.setdefault(key, []).append(branch)
    return list(shared.values())
