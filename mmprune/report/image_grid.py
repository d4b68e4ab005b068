"""The picture of a set of synthetic images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from mmprune.images.store import ImageStore
from mmprune.report.figures import new_figure, write_figure


def plot_grid(store: ImageStore, path: str | Path, num: int = 64) -> Path:
    """Draw the first images of a set as pixels, each with the class that it was made to show.

    Pixels are those of the preprocessor of the network that the set was made for; without one, every image is
    stretched to its own range. Images of one channel are grey; of others than three, the first is shown.

    Args:
        store: The set.
        path: PNG to write.
        num: How many images; all, if there are fewer.
    """
    if num < 1:
        raise ValueError(f'num: at least one image, got {num!r}')
    num = min(num, cast(int, store.num_images))
    columns = min(16, math.ceil(num**0.5))
    rows = -(-num // columns)
    figure = new_figure(0.9 * columns, (1.05 if store.num_classes else 0.9) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis('off')
    meta = store.meta or {}
    for index, axis in zip(range(num), axes):
        axis.imshow(pixels(store.image(index), meta.get('mean'), meta.get('std')), cmap='gray', vmin=0, vmax=1)
        if store.num_classes:
            axis.set_title(str(store.label(index)), fontsize=8, pad=2)
    return write_figure(figure, path)


def pixels(image: Tensor, mean: list[float] | None, std: list[float] | None) -> Tensor:
    """A normalised image (C, H, W) as (H, W, 3) or (H, W) in [0, 1]; mean and deviation are of pixels of 0 … 255."""
    if mean is None or len(mean) not in (1, len(image)):
        low, high = image.min(), image.max()
        image = (image - low) / (high - low).clamp_min(1e-12)
    else:
        image = (image * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)) / 255
    image = image.clamp(0, 1)
    return image.permute(1, 2, 0) if len(image) == 3 else image[0]
