"""Mean and covariance of a site's units as a reader sees them, from weights and batch norms alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

from mmprune.graph.site import Activation, Branch, Depthwise, Norm, Pool, Site
from mmprune.moments.correlation import (
    correlation,
    fit_rho,
    kernel_size,
    layer_filters,
    output_covariance,
    tap_correlation,
)
from mmprune.moments.hermite import activation_moments

#: Correlation of neighbouring pixels where no batch norm tells it.
DEFAULT_RHO = 0.8
#: Correlation of neighbouring pixels behind an activation.
READER_RHO = 0.5


class UnknownMomentsError(ValueError):
    """Nothing in the network tells the moments; the message says what is missing."""


@dataclass(frozen=True)
class Moments:
    """First and second moments of ``n`` units at one position.

    Attributes:
        mean: Shape ``(n,)``.
        covariance: Shape ``(n, n)``.
        is_absolute: Whether the scale is known; before the first batch norm only correlations are.
        size: Height and width of the map that the reader sees; empty if unknown or flat.
    """

    mean: Tensor
    covariance: Tensor
    is_absolute: bool = True
    size: tuple[int, ...] = ()


def reader_taps(branch: Branch, rho: float = READER_RHO) -> Tensor:
    """Correlation of the taps of a reader's weight, shape ``(t, t)``."""
    spread = branch.index.shape[1]
    kernel = tap_correlation(kernel_size(branch.module), rho)
    if spread == 1:
        return kernel
    height = next(
        h for h in range(int(spread**0.5), 0, -1) if spread % h == 0
    )  # a flattened map, as square as it goes
    return torch.kron(tap_correlation((height, spread // height), rho), kernel)


def chain_key(branch: Branch) -> tuple:
    """Equal for branches whose chains are the same steps."""
    return tuple(
        (
            type(step).__name__,
            *(getattr(step, key, '') for key in ('name', 'kind', 'reader')),
            id(getattr(step, 'module', None)),
        )
        for step in branch.chain
    )


def branch_moments(site: Site, branch: Branch, rho: float | str = 'fit', order: int = 8) -> Moments:
    """Moments of the units at the input of ``branch``, under the Gaussian model.

    Args:
        site: The channel group.
        branch: One of its readers.
        rho: Correlation of neighbouring input pixels of the producer, or 'fit' (from its batch norm's variances).
        order: Terms of the Hermite series.

    Raises:
        UnknownMomentsError: There is no batch norm before the first activation, or no plain chain.
    """
    if site.problem:
        raise UnknownMomentsError(site.problem)
    state = _producer_moments(site, branch, rho)
    pixel_rho = DEFAULT_RHO
    for step in branch.chain:
        if isinstance(step, Norm):
            state = _normalise(state, step)
        elif isinstance(step, Activation):
            if not state.is_absolute:
                raise UnknownMomentsError(f'no batch norm between {site.producer_name} and its activation')
            state = _activate(state, step.function, order)
        elif isinstance(step, Depthwise):
            state = _filter(state, step, _depthwise_rho(state, step, branch, rho, pixel_rho))
        elif not isinstance(step, Pool):
            raise UnknownMomentsError(f'unknown step {step!r} on the way to {branch.name}')
    if not state.is_absolute:
        raise UnknownMomentsError(f'no batch norm between {site.producer_name} and {branch.name}')
    return state


def blend(measured: Moments, computed: Moments) -> Moments:
    """Two opinions with different errors in one: covariances are averaged, means are the measured ones.

    Args:
        measured: Moments on noise, which see the whole network but not the network's own images.
        computed: Moments by :func:`branch_moments`, which see nothing but the producer.
    """
    return replace(measured, covariance=(measured.covariance + computed.covariance) / 2)


def _producer_moments(site: Site, branch: Branch, rho: float | str) -> Moments:
    producer = site.producer
    if producer is None:
        raise UnknownMomentsError('several layers are added to make these channels')
    if getattr(producer, 'transposed', False):
        raise UnknownMomentsError(f'{site.producer_name} is a transposed conv')
    filters, size = layer_filters(producer, site.producer_index), kernel_size(producer)
    first = next((step for step in branch.chain if not isinstance(step, Pool)), None)
    if isinstance(rho, str):
        if isinstance(first, Norm) and first.module.running_var is not None:
            rho = fit_rho(filters, size, first.parameters()[3].cpu())
        else:
            rho = DEFAULT_RHO
    covariance = output_covariance(filters, tap_correlation(size, rho))
    if isinstance(producer, _ConvNd) and producer.groups > 1:  # groups read different, hence uncorrelated, inputs
        group = site.producer_index.cpu() // (producer.out_channels // producer.groups)
        covariance = covariance * (group[:, None] == group[None])
    bias = producer.bias
    mean = (
        torch.zeros(site.width, dtype=torch.float64)
        if bias is None
        else bias.detach().double().cpu()[site.producer_index.cpu()]
    )
    return Moments(mean, covariance, is_absolute=False)


def _normalise(state: Moments, step: Norm) -> Moments:
    """After a batch norm mean and variance are the bias and the squared weight, whatever came before."""
    weight, bias, _, _ = (value.cpu() for value in step.parameters())
    return Moments(bias, correlation(state.covariance) * weight.outer(weight))


def _activate(state: Moments, function: Callable[[Tensor], Tensor], order: int) -> Moments:
    std = state.covariance.diagonal().clamp_min(0).sqrt()
    return Moments(*activation_moments(function, std, state.mean, correlation(state.covariance), order))


def _depthwise_taps(step: Depthwise) -> tuple[Tensor, tuple[int, ...]]:
    return layer_filters(step.module, step.index)[:, 0], kernel_size(step.module)


def _depthwise_rho(state: Moments, step: Depthwise, branch: Branch, rho: float | str, default: float) -> float:
    """The pixel correlation that explains the batch norm behind a depthwise conv, if there is one."""
    if not isinstance(rho, str):
        return rho
    following = branch.chain[branch.chain.index(step) + 1 :] if step in branch.chain else ()
    if not following or not isinstance(following[0], Norm) or following[0].module.running_var is None:
        return default
    taps, size = _depthwise_taps(step)
    scaled = taps * state.covariance.diagonal().clamp_min(0).sqrt()[:, None]
    return fit_rho(scaled[:, None], size, following[0].parameters()[3].cpu())


def _filter(state: Moments, step: Depthwise, rho: float) -> Moments:
    """Behind a depthwise conv: every pair of channels sees the same pixels through its own two filters."""
    taps, size = _depthwise_taps(step)
    bias = 0 if step.module.bias is None else step.module.bias.detach().double().cpu()[step.index.cpu()]
    overlap = taps @ tap_correlation(size, rho) @ taps.T
    return replace(state, mean=state.mean * taps.sum(dim=1) + bias, covariance=state.covariance * overlap)
