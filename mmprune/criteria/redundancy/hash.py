"""A perceptual hash of feature maps: which low DCT frequencies lie above their mean."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def dct_rows(size: int, count: int) -> Tensor:
    """The first ``count`` rows of the unnormalised DCT-II of ``size`` samples, float64, shape ``(count, size)``."""
    frequency = torch.arange(count, dtype=torch.float64)[:, None]
    return 2 * torch.cos(torch.pi / (2 * size) * frequency * (2 * torch.arange(size, dtype=torch.float64) + 1))


def is_informative(height: int, width: int, hash_size: int = 8, dc: bool = True) -> bool:
    """True if hashes of such maps can differ: a single coefficient always equals its own mean."""
    return min(height, hash_size) * min(width, hash_size) - (not dc) >= 2


def hash_basis(height: int, width: int, hash_size: int = 8, dc: bool = True) -> Tensor:
    """The hash as linear functionals: bit ``b`` of a map ``X`` is ``(basis[b] * X).sum() >= 0``.

    Returns:
        Shape ``(b, height, width)``, float64: the DCT's basis images less their mean.
    """
    rows, columns = dct_rows(height, min(hash_size, height)), dct_rows(width, min(hash_size, width))
    basis = torch.einsum('vx,uy->vuyx', columns, rows).flatten(0, 1)[0 if dc else 1 :]
    return basis - basis.mean(dim=0)


def hash_signs(maps: Tensor, hash_size: int = 8, dc: bool = True) -> Tensor:
    """Hash feature maps.

    Args:
        maps: Shape ``(..., H, W)``; hashed in their own precision, at least float32.
        hash_size: Frequencies per axis (fewer for smaller maps).
        dc: Whether the mean of the map takes part (as published). Where it dominates, all bits say its sign.

    Returns:
        ±1 in the maps' precision, shape ``(..., b)`` with ``b = min(hash_size, H) · min(hash_size, W)``, one less
        without ``dc``; +1 where a coefficient is at least the mean of all.
    """
    maps = maps if maps.dtype == torch.float64 else maps.float()
    height, width = maps.shape[-2:]
    columns = dct_rows(width, min(hash_size, width)).to(maps)
    rows = dct_rows(height, min(hash_size, height)).to(maps)
    partial = (maps.reshape(-1, width) @ columns.T).reshape(-1, height, len(columns))
    spectrum = (partial.transpose(1, 2) @ rows.T).reshape(*maps.shape[:-2], -1)  # v-major; the order does not matter
    above = maps.new_zeros(())
    if not dc:
        # The other coefficients of a constant map are rounding errors of its mean: they count as equal.
        above = -64 * torch.finfo(maps.dtype).eps * spectrum[..., :1].abs()
        spectrum = spectrum[..., 1:]
    above = spectrum.mean(dim=-1, keepdim=True) + above
    return torch.where(spectrum >= above, 1.0, -1.0).to(maps.dtype)
