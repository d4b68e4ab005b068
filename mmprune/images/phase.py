"""The phases of an inversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mmprune.errors import ConfigError


@dataclass(frozen=True)
class Phase:
    """A stretch of iterations that show the network the images in one way.

    Attributes:
        iterations: How many.
        downscale: Edge of the square of pixels that the network sees as one.
        jitter: Largest shift along both axes, in the pixels that the network sees.
    """

    iterations: int
    downscale: int = 1
    jitter: int = 0

    @classmethod
    def list_of(cls, phases: Sequence[Mapping]) -> list[Phase]:
        """Phases from a config's list.

        Raises:
            ValueError: Names the phase and what is wrong.
        """
        if not isinstance(phases, (list, tuple)) or not phases:
            raise ValueError(f'DeepInversion.phases: a list like [dict(iterations=2000, jitter=2)], got {phases!r}')
        return [cls._of(number, phase) for number, phase in enumerate(phases)]

    @classmethod
    def _of(cls, number: int, phase: Mapping) -> Phase:
        key = f'DeepInversion.phases[{number}]'
        if not isinstance(phase, Mapping) or not {'iterations'} <= set(phase) <= {'iterations', 'downscale', 'jitter'}:
            raise ValueError(f'{key}: a dict of iterations and, if wanted, downscale and jitter, got {phase!r}')
        for name, least in (('iterations', 1), ('downscale', 1), ('jitter', 0)):
            value = phase.get(name, least)
            if type(value) is not int or value < least:
                raise ValueError(f'{key}.{name}: a whole number of at least {least}, got {value!r}')
        return cls(**phase)

    def check(self, shape: tuple[int, int, int]) -> None:
        """Refuse images (C, H, W) that are too small."""
        if min(shape[1:]) < 2 * self.downscale:
            raise ConfigError(
                f'DeepInversion.phases: downscale={self.downscale} leaves less than 2×2 pixels of '
                f'images of shape {shape}'
            )

    def draw(self, flip: bool, generator: torch.Generator) -> dict:
        """How the images are moved in one iteration: arguments of :func:`mmprune.images.image_loss.move`."""
        roll = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
        mirrored = flip and bool(torch.rand(1, generator=generator) < 0.5)
        return dict(downscale=self.downscale, roll=tuple(roll), flip=mirrored)
