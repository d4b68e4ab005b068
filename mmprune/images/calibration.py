"""The inputs that distortions are measured on: given images, or N(0, 1)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mmprune.graph.tracing import map_tensors

Batch = object


def calibration_batches(
    example: object, images: Iterable[Tensor] | None, num_images: int, batch_size: int, seed: int = 0
) -> list[Batch]:
    """Batches that stay on the example's device; the same for the same arguments.

    Args:
        example: One batch of input for the network.
        images: Batches of normalised images of shape (N, C, H, W), of any sizes; None: N(0, 1) like the example.
        num_images: Images in all; of given ones the first.
        batch_size: Images per batch.
        seed: Seeds the noise.
    """
    if images is None:
        return _noise(example, num_images, batch_size, seed)
    found, left = [], num_images
    for batch in [images] if isinstance(images, Tensor) else images:
        found.append(batch[:left].to(example) if isinstance(example, Tensor) else batch[:left])
        left -= len(found[-1])
        if left <= 0:
            break
    if not found:
        raise ValueError('images: the source is empty; give at least one batch')
    if len({batch.shape[1:] for batch in found}) > 1:
        return found  # of different sizes: as they came
    return list(torch.cat(found).split(batch_size))


def small_sample(batch: Batch) -> Batch:
    """The first two images of a batch, to try things on; networks may squeeze a batch of one."""
    return batch[:2] if isinstance(batch, Tensor) else batch


def _noise(example: object, num_images: int, batch_size: int, seed: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor, count: int | None = None) -> Tensor:
        if not like.is_floating_point():
            return like
        shape = like.shape if count is None else (count, *like.shape[1:])
        return torch.randn(shape, generator=generator).to(like)

    if isinstance(example, Tensor) and example.dim() > 1 and example.is_floating_point():
        return [draw(example, min(batch_size, num_images - start)) for start in range(0, num_images, batch_size)]
    return [map_tensors(draw, example) for _ in range(max(1, num_images // _size(example)))]


def _size(example: object) -> int:
    while isinstance(example, (tuple, list, dict)):
        example = next(iter(example.values() if isinstance(example, dict) else example))
    return len(example) if isinstance(example, Tensor) and example.dim() else 1
