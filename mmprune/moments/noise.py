"""Noise to measure moments on: as many images as the map sizes call for."""

from __future__ import annotations

from torch import Tensor

from mmprune.synthesis.noise import Noise, PinkNoise

#: Pixels in all images together; small maps get many images, large ones few.
PIXELS = 1_000_000
#: Pixels in one batch.
BATCH_PIXELS = 250_000
#: Photographs' colour channels share most of their variance.
GRAY = 0.8


def noise_like(example: object, only_one: bool = False) -> Noise | None:
    """Noise with the spectrum of photographs in the shape of an example, None where inputs are no images.

    Args:
        example: An input of the network; noise is made for a tensor of shape (N, C, H, W).
        only_one: Whether a single image is enough.
    """
    if not isinstance(example, Tensor) or example.dim() != 4 or not example.is_floating_point():
        return None
    area = example.shape[2] * example.shape[3]
    count = 1 if only_one else min(200, max(8, PIXELS // area))
    batch = min(count, max(2, BATCH_PIXELS // area), 50)
    return PinkNoise(gray=GRAY, num_images=count, batch_size=batch).like(example)
