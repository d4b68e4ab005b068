"""An image source of one's own: photographs of one array on disk, normalised as the network was trained."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmprune.images.source import ImageSource


class ArrayImages(ImageSource):
    """Photographs (N, H, W, 3) of 0 … 255 in a ``.npy`` file, of which one batch at a time is read."""

    origin = 'photographs of an array, no labels'

    def __init__(self, path: str | Path, mean: Sequence[float], std: Sequence[float], batch_size: int = 50) -> None:
        """Args: the file, mean and standard deviation of each colour (0 … 255), and images per batch."""
        self._pixels = np.load(path, mmap_mode='r')
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self.num_images, self._batch_size = len(self._pixels), batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, self.num_images, self._batch_size):
            pixels = np.array(self._pixels[start : start + self._batch_size])
            yield (torch.from_numpy(pixels).permute(0, 3, 1, 2) - self._mean) / self._std
