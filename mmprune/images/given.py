"""Images that a user gives from Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import torch
from mmengine.dist import all_gather_object, get_world_size
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from mmprune.errors import ConfigError
from mmprune.graph.tracing import Example
from mmprune.images.batches import images_of
from mmprune.images.source import ImageSource
from mmprune.storage.cache import content_key


def as_source(
    images: Iterable[object] | ImageSource | None, like: Example | None = None, model: nn.Module | None = None
) -> ImageSource | None:
    """A source of the batches that a user gives as ``images``; sources stay what they are.

    In a distributed run all ranks call this together: where their first batches differ, each rank has images of its
    own, which belong to the whole.

    Args:
        images: Batches (N, C, H, W) in a list, a loader or anything else that can be iterated (a generator, too), or
            one tensor, or None. Labels and whatever else comes with them are left out, see :func:`images_of`.
        like: Example input of the network: its device, precision and channels are those of the batches.
        model: Its ``data_preprocessor``, if it has one, reads raw samples.

    Raises:
        ConfigError: There are no batches, or the network cannot take them.
    """
    if images is None or isinstance(images, ImageSource):
        return images
    like = like if isinstance(like, Tensor) else None
    preprocessor = getattr(model, 'data_preprocessor', None)
    source, device = GivenImages(images, like, preprocessor), None if like is None else like.device
    firsts = [next(iter(source), None)]
    if get_world_size() > 1:
        firsts = all_gather_object(None if firsts[0] is None else content_key(firsts[0]))
    if all(first is None for first in firsts):
        raise ConfigError('images: the image source is empty; give at least one batch')
    return source if len(firsts) == 1 or len(set(firsts)) == 1 else RankImages(source, device)


class GivenImages(ImageSource):
    """Batches from an iterable; one that ends when it is read is kept in memory as far as it was read."""

    origin = 'images, no labels'

    def __init__(
        self, images: Iterable[object], like: Tensor | None = None, preprocessor: nn.Module | None = None
    ) -> None:
        """Arguments as in :func:`as_source`."""
        images = [images] if isinstance(images, Tensor) else images
        if not isinstance(images, Iterable):
            raise ConfigError(f'images: batches (N, C, H, W) in a list or a DataLoader, got {type(images).__name__}')
        self.num_images = _count(images)
        self._images, self._like, self._preprocessor = images, like, preprocessor
        self._seed, self._batches = torch.initial_seed(), 0
        if _ends(images):
            self._images = Recording(self._once())

    def __iter__(self) -> Iterator[Tensor]:
        batches = 0
        for batch in self._once():
            images = images_of(batch, self._like, self._preprocessor)
            batches += 1
            if len(images):
                yield images if self._like is None else _move(images, self._like)
        if batches < self._batches:
            raise ConfigError(
                f'images: gave {self._batches} batches and, iterated again, {batches}; every part that wants images '
                'must see the same ones: give a list or a DataLoader'
            )
        self._batches = batches

    def _once(self) -> Iterator[object]:
        images = self._images
        return shuffled_alike(images, self._seed) if isinstance(images, DataLoader) else iter(images)


class RankImages(ImageSource):
    """Images of which each rank has its own, e.g. from a loader with a distributed sampler."""

    origin, is_replicated = GivenImages.origin, False

    def __init__(self, own: ImageSource, device: torch.device | None = None) -> None:
        """Put together what the ranks have; all of them make theirs.

        Args:
            own: This rank's images.
            device: Where all images are to be; None: where this rank's own are.
        """
        self._own, self._device = own, device
        counts = all_gather_object(own.num_images)
        self.num_images = None if None in counts else sum(counts)

    def __iter__(self) -> Iterator[Tensor]:
        own, device = iter(self._own), self._device or torch.device('cpu')
        while True:
            batch = next(own, None)
            device = device if batch is None else batch.device
            batches = all_gather_object(None if batch is None else batch.cpu())
            if all(other is None for other in batches):
                return
            yield from (other.to(device) for other in batches if other is not None)

    def share(self, most: int | None = None) -> Iterator[Tensor]:
        """This rank's own images; see the base class."""
        return self._own.parts(most)


class Recording:
    """An iterator that can be iterated again: what came out of it is kept."""

    def __init__(self, iterator: Iterator[Tensor]) -> None:
        """Keep what comes out of ``iterator``, as far as somebody asks for it."""
        self._iterator, self._seen = iterator, []

    def __iter__(self) -> Iterator[Tensor]:
        position = 0
        while True:
            if position == len(self._seen):
                try:
                    self._seen.append(next(self._iterator))
                except StopIteration:
                    return
            yield self._seen[position]
            position += 1


def _ends(images: Iterable) -> bool:
    """True for what can be iterated only once, as generators, and loaders of data that come as a stream."""
    if isinstance(images, DataLoader):
        return isinstance(images.dataset, IterableDataset)
    if isinstance(images, (Iterator, list, tuple)):
        return isinstance(images, Iterator)
    return iter(images) is iter(images)


def shuffled_alike(loader: DataLoader, seed: int) -> Iterator[Tensor]:
    """A loader's batches in the order to which this seed shuffles them, whatever was drawn before."""
    generators = [torch.default_generator, *([loader.generator] if loader.generator is not None else [])]
    before = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        batches = iter(loader)
        first = list(islice(batches, 1))  # samplers draw when they are asked for the first time
    finally:
        for generator, state in zip(generators, before):
            generator.set_state(state)
    yield from chain(first, batches)


def _move(batch: Tensor, like: Tensor) -> Tensor:
    return batch.to(like) if batch.is_floating_point() and like.is_floating_point() else batch.to(like.device)


def _count(images: Iterable[object]) -> int | None:
    """Images in all, where that can be known without reading them."""
    if isinstance(images, (list, tuple)) and all(isinstance(batch, Tensor) and batch.dim() for batch in images):
        return sum(map(len, images))
    return None
