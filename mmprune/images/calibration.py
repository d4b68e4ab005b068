"""The inputs that distortions are measured on: the first given images, or N(0, 1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmprune.graph.tracing import Example
from mmprune.images.source import ImageSource

#: Pixels of one batch of large images: 64 of ImageNet's size.
PIXELS = 64 * 224 * 224


class NormalInputs(ImageSource):
    """N(0, 1) inputs like an example that is one tensor; one of several is taken as it is."""

    origin, is_noise = 'N(0, 1) inputs, no data', True

    def __init__(self, example: Example, num_images: int, batch_size: int, seed: int = 0) -> None:
        """Say what to make.

        Args:
            example: One batch of input for the network.
            num_images: Images in all; if the example is more than one tensor, it is the one batch itself.
            batch_size: Images per batch.
            seed: Seeds the noise.
        """
        self._example, self.num_images, self._batch_size, self._seed = example, num_images, batch_size, seed

    def __iter__(self) -> Iterator[Example]:
        generator, example = torch.Generator().manual_seed(self._seed), self._example
        if isinstance(example, Tensor) and example.dim() > 1 and example.is_floating_point():
            for start in range(0, self.num_images, self._batch_size):
                shape = (min(self._batch_size, self.num_images - start), *example.shape[1:])
                yield torch.randn(shape, generator=generator).to(example)
        else:  # numbers among others may mean something (boxes, times, masks)
            yield example


def calibration_batches(
    example: Example, images: ImageSource | None, num_images: int, batch_size: int, seed: int = 0
) -> list[Example]:
    """Batches that stay on the example's device; the same for the same arguments, on every rank.

    Args:
        example: One batch of input for the network.
        images: Normalised images of any sizes; None: N(0, 1) like the example.
        num_images: Images in all; of given ones the first.
        batch_size: Images per batch; of images larger than ImageNet's no more than fit into the memory of 64 of those.
        seed: Seeds the noise.
    """
    if isinstance(example, Tensor) and example.dim() == 4 and example[0, 0].numel() > 224 * 224:
        batch_size = min(batch_size, max(2, PIXELS // example[0, 0].numel()))
    if images is None:
        return list(NormalInputs(example, num_images, batch_size, seed))
    found = [batch.to(example) if isinstance(example, Tensor) else batch for batch in images.first(num_images)]
    if len({batch.shape[1:] for batch in found}) > 1:
        return [*found]  # of different sizes: as they came
    return [*torch.cat(found).split(batch_size)]


def small_sample(batch: Example) -> Example:
    """The first two images of a batch, to try things on; networks may squeeze a batch of one."""
    return batch[:2] if isinstance(batch, Tensor) else batch
