"""Random images in normalised pixel space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from mmprune.graph.scope import Scope
from mmprune.graph.tracing import Example
from mmprune.images.source import ImageSource
from mmprune.images.store import ImageStore
from mmprune.images.synthesizer import ImageCount, Synthesizer
from mmprune.options import Bounds, Count, Fraction, ImageShape
from mmprune.registry import SYNTHESIZERS
from mmprune.storage.cache import content_key

#: Pixels in all images together; small maps get many images, large ones few.
PIXELS = 1_000_000
#: Pixels in one batch.
BATCH_PIXELS = 250_000
#: Photographs' colour channels share most of their variance.
GRAY = 0.8


class Noise(Synthesizer, ImageSource):
    """Batches of random images, the same on every rank.

    It can stand wherever images are wanted (``images=`` of :func:`mmprune.prune`), and writes them to disk where a
    set of files is wanted (:meth:`prepare`).

    Example:
        >>> images = GaussianNoise(num_images=50, shape=(3, 32, 32), batch_size=20)
        >>> [tuple(batch.shape) for batch in images]
        [(20, 3, 32, 32), (20, 3, 32, 32), (10, 3, 32, 32)]
    """

    origin, is_noise = 'noise images, no data', True

    def __init__(
        self,
        num_images: ImageCount = 100,
        shape: ImageShape | None = None,
        batch_size: Count = 20,
        seed: int = 0,
        root: str | Path | None = None,
    ) -> None:
        """A recipe of a set; images are drawn while it is iterated.

        Args:
            num_images: How many images.
            shape: (C, H, W). None: that of the network's example input, see :meth:`like`.
            batch_size: Images per batch.
            seed: Seeds the images, and nothing else.
            root: Folder of the sets that :meth:`prepare` writes; None: ``synthetic`` in the work dir.
        """
        super().__init__(num_images, batch_size, seed, root)
        self.shape = None if shape is None else tuple(shape)
        self.device, self.dtype = torch.device('cpu'), torch.float32

    def like(self, example: Tensor) -> Noise:
        """The same source with the shape (unless it has one), device and precision of a batch (N, C, H, W)."""
        source = copy(self)
        source.shape = self.shape or tuple(example.shape[1:])
        source.device, source.dtype = example.device, example.dtype
        return source

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        if self.shape is None:
            raise ValueError('shape: not set; give (channels, height, width)')
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.num_images, self.batch_size):
            count = min(self.batch_size, self.num_images - start)
            yield self._batch(count, generator).to(self.device, self.dtype)

    def prepare(self, scope: Scope, work_dir: str | Path) -> ImageStore:
        """Write the images to disk; see :class:`Synthesizer`."""
        source = self.like(self._example(scope))
        source.device, source.dtype = torch.device('cpu'), torch.float32
        options = {key: value for key, value in vars(self).items() if key not in ('device', 'dtype', 'root', 'shape')}
        content = content_key(type(self).__name__, source.shape, sorted(options.items()))
        about = {
            'what': f'{type(self).__name__}: random images, made without any data',
            **options,
            'shape': source.shape,
        }
        store, mine = self._open(scope, work_dir, content, about)
        for index, images in enumerate(source if mine else ()):
            if index in mine:
                store.write(index, images)
        return self._finish(store, scope)

    @abstractmethod
    def _batch(self, count: int, generator: torch.Generator) -> Tensor:
        """That many images of zero mean and unit variance, float32."""


@SYNTHESIZERS.register_module()
class GaussianNoise(Noise):
    """Independent N(0, 1) pixels. Arguments as in :class:`Noise`."""

    origin = 'Gaussian-noise images, no data'

    def _batch(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, *self.shape, generator=generator)


@SYNTHESIZERS.register_module()
class PinkNoise(Noise):
    """Gaussian images whose amplitudes fall with frequency as in photographs, with equal colours in part."""

    origin = 'pink-noise images, no data'

    def __init__(
        self, exponent: Annotated[float, Bounds(at_least=-10, at_most=10)] = 1.0, gray: Fraction = 0.0, **kwargs: Any
    ) -> None:
        """Say how the spectrum falls.

        Args:
            exponent: Amplitudes are proportional to ``1 / frequency ** exponent``; 1 is that of photographs, 0 white.
            gray: Share of the variance that all colour channels have in common, in [0, 1].
            kwargs: As in :class:`Noise`.
        """
        super().__init__(**kwargs)
        self.exponent, self.gray = exponent, gray

    def _batch(self, count: int, generator: torch.Generator) -> Tensor:
        channels, height, width = self.shape
        white = torch.randn(count, channels + 1, height, width, generator=generator)
        mixed = (1 - self.gray) ** 0.5 * white[:, 1:] + self.gray**0.5 * white[:, :1]
        amplitude = self._amplitude(height, width)
        return torch.fft.irfft2(torch.fft.rfft2(mixed) * amplitude, s=(height, width))

    def _amplitude(self, height: int, width: int) -> Tensor:
        """Gain of every frequency, with unit mean square; the mean's is that of the lowest other frequency."""
        rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)
        frequency = (rows.square() + columns.square()).sqrt()
        gain = frequency.clamp_min(1 / max(height, width)) ** -self.exponent
        return (gain / gain.square().mean().sqrt())[:, : width // 2 + 1]


def noise_like(example: Example, only_one: bool = False) -> Noise | None:
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
