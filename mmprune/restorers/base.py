"""The interface of all restorers."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from torch import Tensor, nn

from mmprune.graph.site import Site
from mmprune.graph.tracing import Example, Forward
from mmprune.images.source import ImageSource
from mmprune.options import Checked


class Restorer(Checked, ABC):
    """Repairs a network for the channels that it is about to lose.

    The pruner calls :meth:`prepare` once on the whole network, then :meth:`restore_site` for every group that loses
    channels, in forward order and *before* anything is sliced, and :meth:`restore_model` on the sliced network. After
    ``restore_site`` the pruner zeroes the removed columns of the readers itself.
    """

    #: Whether the restorer wants images (real or synthetic); the caller then hands an iterable of batches.
    needs_images = False
    #: Whether the restorer computes from the steps between producer and readers, and so needs to know them.
    needs_chain = True
    #: How reports name what the restorer used, so that nobody takes a repair with data for a data-free one.
    uses = 'no data'

    def images_for(self, example: Example, images: ImageSource | None) -> ImageSource | None:
        """The images that the other methods are given: the run's own, if any; noise for those that live on it.

        Args:
            example: One batch of input of the network.
            images: Batches of normalised images, or None.
        """
        return images

    def prepare(
        self, sites: Sequence[Site], forward: Forward | None = None, images: ImageSource | None = None
    ) -> None:
        """Look at the dense network before anything changes.

        Args:
            sites: All sites that will lose channels, in forward order.
            forward: Runs the dense network on one batch of normalised images of shape (N, C, H, W).
            images: Batches of normalised images, when there are any; may be iterated several times.
        """

    def restore_site(self, site: Site, keep: Tensor) -> str:
        """Change the readers of ``site`` (in place, dense shapes) so that they manage without the removed units.

        Args:
            site: The group; ``site.branches`` is not empty, nor, if the restorer needs the chain, is that unknown.
            keep: Sorted kept units, shape ``(m,)``, ``0 < m < n``.

        Returns:
            Empty when repaired (or left to :meth:`restore_model`), else the reason why the group is only sliced.
        """
        return ''

    def restore_model(self, model: nn.Module, forward: Forward, images: ImageSource | None) -> None:
        """Repair the sliced network as a whole (e.g. its batch-norm statistics)."""
