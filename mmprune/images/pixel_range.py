"""The range in which an image's normalised values stay."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from mmprune.errors import ConfigError
from mmprune.graph.scope import pixel_statistics
from mmprune.options import Says

IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


#: Range of normalised pixels: by name, or (low, high).
Clamp = Literal['imagenet', 'model'] | Annotated[tuple[float, float], Says('(low, high)')]


def pixel_range(
    clamp: str | tuple[float, float] | None, model: nn.Module, channels: int
) -> tuple[list[float], list[float]] | tuple[None, None]:
    """Lowest and highest normalised value of every channel; None: no limit.

    Args:
        clamp: 'imagenet', 'model', (low, high) or None.
        model: Its preprocessor gives the range for 'model'.
        channels: Of the images.

    Raises:
        ConfigError: The range is known for another number of channels, or not at all.
    """
    if clamp is None:
        return None, None
    if isinstance(clamp, tuple):
        low, high = ([float(value)] * channels for value in clamp)
        return low, high
    largest, (mean, std) = 1, IMAGENET
    if clamp == 'model':
        largest, (mean, std) = 255, pixel_statistics(model) or ([], [])
    if len(mean) not in (1, channels):
        instead = '(low, high) or None' if clamp == 'model' else "'model', (low, high) or None"
        raise ConfigError(
            f'clamp: {clamp!r} gives a range for {len(mean)} channels, but the images have {channels}; use {instead}'
        )
    mean, std = (item * (channels // len(item)) for item in (mean, std))
    return [-m / s for m, s in zip(mean, std)], [(largest - m) / s for m, s in zip(mean, std)]
