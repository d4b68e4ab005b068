"""The expected similarity of two filters on white noise, from their weights alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmprune.criteria.redundancy.hash import hash_basis, is_informative
from mmprune.graph.tracing import Forward, watching


def white_noise_agreement(
    conv: nn.Conv2d, index: Tensor, size: tuple[int, int], hash_size: int = 8, dc: bool = True
) -> Tensor:
    """Expected share of equal hash bits when the conv's input is white Gaussian noise.

    A hash bit is the sign of a linear functional of the map. For two filters both functionals are jointly Gaussian
    with correlation ρ, and their signs agree with probability ``1 − arccos(ρ) / π``. The map is stationary (padding
    and bias are ignored), so ρ follows from the filters' cross-correlation and the functional's auto-correlation at
    the few lags at which kernels overlap.

    Args:
        conv: A 2-D conv of any stride, dilation and groups.
        index: Shape ``(n, s)``: its channels that make each unit.
        size: (H, W) of its output.
        hash_size: Frequencies per axis.
        dc: Whether the maps' means take part.

    Returns:
        Float64, shape ``(n, n)``.
    """
    weight = _dense_weight(conv).float()[index.to(conv.weight.device)].transpose(0, 1)  # (s, n, c, kh, kw)
    lags = _lags(conv, size)
    basis = hash_basis(*size, hash_size, dc).to(weight)
    gains = torch.stack([_autocorrelation(basis, *lag) for lag in lags], dim=1)  # (b, lags)
    if len(lags) == 1:
        gains = gains[:1]  # 1×1 kernels: the same correlation at every frequency
    total = weight.new_zeros(weight.shape[1], weight.shape[1], dtype=torch.float64)
    for filters in weight:
        cross = torch.stack([_cross_correlation(filters, conv, *lag) for lag in lags])  # (lags, n, n)
        power = (gains @ cross.diagonal(dim1=1, dim2=2)).clamp_min(0).sqrt()  # (b, n)
        for gain, scale in zip(gains, power):
            covariance = torch.tensordot(gain, cross, dims=1)
            rho = covariance / torch.clamp(scale[:, None] * scale, min=torch.finfo(scale.dtype).tiny)
            total += 1 - torch.arccos(rho.clamp(-1, 1)).double() / torch.pi
    agreement = total / (len(weight) * len(gains))
    return agreement.fill_diagonal_(1.0)


@torch.no_grad()
def expect(
    layers: Sequence[tuple[nn.Module, Tensor]], forward: Forward, image: Tensor, hash_size: int = 8, dc: bool = True
) -> list[Tensor | str]:
    """Expected agreement of layers, each as if its own input were white noise; or why there is none.

    Args:
        layers: Modules with the channels of their units, shape ``(n, s)``.
        forward: Runs the network, once, to learn the sizes of the maps.
        image: Any image, shape (1, C, H, W).
        hash_size: Frequencies per axis.
        dc: Whether the maps' means take part.
    """
    sizes: dict[nn.Module, tuple[int, int]] = {}
    with watching([module for module, _ in layers], lambda m, args, out: sizes.update({m: tuple(out.shape[2:])})):
        forward(image)
    results: list[Tensor | str] = []
    for module, index in layers:
        size = sizes.get(module, (0, 0))
        if not isinstance(module, nn.Conv2d):
            results.append(f'no closed form for {type(module).__name__}')
        elif not is_informative(size[0], size[1], hash_size, dc):
            results.append(f'maps of {size[0]}×{size[1]} pixels have no hash')
        else:
            results.append(white_noise_agreement(module, index, size, hash_size, dc))
    return results


def _dense_weight(conv: nn.Conv2d) -> Tensor:
    """The weight over all input channels, with zeros where a grouped conv does not look."""
    weight = conv.weight.detach()
    if conv.groups == 1:
        return weight
    full = weight.new_zeros(conv.out_channels, conv.in_channels, *weight.shape[2:])
    for out, into in zip(
        torch.arange(conv.out_channels).chunk(conv.groups), torch.arange(conv.in_channels).chunk(conv.groups)
    ):
        full[out[:, None], into] = weight[out]
    return full


def _lags(conv: nn.Conv2d, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Output lags at which two kernels read a common input pixel; of a lag and its opposite only one."""
    reach = [min((k - 1) * d // s, n - 1) for k, d, s, n in zip(conv.kernel_size, conv.dilation, conv.stride, size)]
    lags = [(y, x) for y in range(reach[0] + 1) for x in range(-reach[1], reach[1] + 1) if y > 0 or x >= 0]
    return [(y, x) for y, x in lags if all(lag * s % d == 0 for lag, s, d in zip((y, x), conv.stride, conv.dilation))]


def _autocorrelation(basis: Tensor, y: int, x: int) -> Tensor:
    """Sum of each functional times itself shifted by a lag with ``y >= 0``, shape ``(b,)``."""
    height, width = basis.shape[1:]
    left, right = max(0, x), min(width, width + x)
    return (basis[:, : height - y, left - x : right - x] * basis[:, y:, left:right]).sum(dim=(1, 2))


def _cross_correlation(filters: Tensor, conv: nn.Conv2d, y: int, x: int) -> Tensor:
    """``r(lag) + r(−lag)`` of all pairs of filters (once for lag 0), shape ``(n, n)``."""
    dy, dx = (lag * s // d for lag, s, d in zip((y, x), conv.stride, conv.dilation))
    height, width = filters.shape[2:]
    fixed = filters[:, :, dy:, max(0, dx) : width + min(0, dx)].flatten(1)
    moved = filters[:, :, : height - dy, max(0, -dx) : width - max(0, dx)].flatten(1)
    cross = fixed @ moved.T
    return cross if (y, x) == (0, 0) else cross + cross.T
