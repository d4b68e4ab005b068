"""The contract of everything that gives images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice

from mmengine.dist import get_dist_info
from torch import Tensor


class ImageSource(ABC):
    """Batches of normalised images (N, C, H, W): the same images in the same order, however often it is iterated.

    Iterating gives every rank of a distributed run all images, so that all compute the same from them. What can be
    added up over the ranks asks for :meth:`share` instead, and sees only its part.

    Attributes:
        num_images: Images in all, of all ranks together; None where nobody knows before the end.
        origin: What kind of images they are and whether data was used, as reports put it behind their number.
        is_noise: Whether networks were never trained on the like, so that running statistics do not fit the images.
        is_replicated: Whether each rank has all images by itself. Where it has not, iterating collects them: all ranks
            have to do it together.
    """

    num_images: int | None = None
    origin: str = 'images'
    is_noise = False
    is_replicated = True

    @abstractmethod
    def __iter__(self) -> Iterator[Tensor]:
        """All images, in batches."""

    def share(self, most: int | None = None) -> Iterator[Tensor]:
        """This rank's part of the images; each of them comes to exactly one rank.

        Batches stay whole, or are cut as if there were one rank: what depends on which images are together (the
        statistics of a batch) does not depend on the number of ranks.

        Args:
            most: Images per batch at most; larger batches are cut into equal parts.
        """
        rank, world = get_dist_info()
        return islice(self.parts(most), rank, None, world)

    def parts(self, most: int | None = None) -> Iterator[Tensor]:
        """All images in batches of at most ``most``; larger batches are cut into equal parts."""
        for batch in self:
            yield from batch.chunk(-(-len(batch) // (most or len(batch))))

    def first(self, count: int) -> ImageSource:
        """The first ``count`` images of all ranks together; all, if there are fewer."""
        return FirstImages(self, count)

    def describe(self) -> str:
        """The images in one phrase, for reports: '64 images of train_dataloader, no labels'."""
        return self.origin if self.num_images is None else f'{self.num_images:,} {self.origin}'


class FirstImages(ImageSource):
    """The first images of another source."""

    def __init__(self, source: ImageSource, count: int) -> None:
        """The first ``count`` images of ``source``; all, if it has fewer."""
        self._source, self._count = source, count
        self.origin, self.is_noise, self.is_replicated = source.origin, source.is_noise, source.is_replicated

    @property
    def num_images(self) -> int:
        """Images in all; at most so many where the source does not know."""
        known = self._source.num_images
        return self._count if known is None else min(known, self._count)

    def __iter__(self) -> Iterator[Tensor]:
        left = self._count
        for batch in self._source:
            yield batch[:left]
            left -= len(batch)
            if left <= 0:
                return
