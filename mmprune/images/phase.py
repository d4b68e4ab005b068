"""The phases of an inversion."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmprune.errors import ConfigError
from mmprune.options import Checked, Count, NonNegativeCount


@dataclass(frozen=True)
class Phase(Checked):
    """A stretch of iterations that show the network the images in one way.

    Attributes:
        iterations: How many.
        downscale: Edge of the square of pixels that the network sees as one.
        jitter: Largest shift along both axes, in the pixels that the network sees.
    """

    iterations: Count
    downscale: Count = 1
    jitter: NonNegativeCount = 0

    def check(self, shape: tuple[int, int, int]) -> None:
        """Refuse images (C, H, W) that are too small."""
        if min(shape[1:]) < 2 * self.downscale:
            raise ConfigError(
                f'phases: downscale={self.downscale} leaves less than 2×2 pixels of images of shape {shape}'
            )

    def draw(self, flip: bool, generator: torch.Generator) -> dict:
        """The random move of the images in one iteration: arguments of :func:`mmprune.images.image_loss.move`."""
        roll = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
        mirrored = flip and bool(torch.rand(1, generator=generator) < 0.5)
        return dict(downscale=self.downscale, roll=tuple(roll), flip=mirrored)
