"""The interface of all criteria."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mmprune.graph.tracing import Example, Forward
from mmprune.images.source import ImageSource
from mmprune.options import Checked

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup


class Criterion(Checked, ABC):
    """Says how important each unit (channel and all that goes with it) of a group is."""

    #: Whether the criterion wants images; the caller then hands an iterable of batches to :meth:`prepare`.
    needs_images = False

    def prepare(  # noqa: B027
        self, groups: Sequence[ChannelGroup], forward: Forward, images: ImageSource | None
    ) -> None:
        """Collect whatever the scores need from the whole network; weight criteria need nothing.

        Args:
            groups: All groups that may be pruned, in forward order.
            forward: Runs the network on one batch of normalised images of shape (N, C, H, W).
            images: Batches of normalised images, when there are any; may be iterated several times.
        """

    def images_for(self, example: Example, images: ImageSource | None) -> ImageSource | None:
        """The images that :meth:`prepare` is given: the run's own, unless the criterion makes some.

        Args:
            example: An input of the network, for its shape.
            images: The run's images, when there are any.
        """
        return images

    @abstractmethod
    def scores(self, group: ChannelGroup) -> Tensor:
        """Importance of every unit, float64, shape ``(n,)``; the smallest go first.

        Scores that are to be compared between groups (allocator ``Global``, ``RateDistortion``) mean the cost of
        removing the unit once all smaller ones are gone.
        """

    def settle(  # noqa: B027
        self, groups: Sequence[ChannelGroup], remaining: Callable[[Mapping[str, int]], Mapping[str, float]]
    ) -> None:
        """Look at all groups before :meth:`select` is asked about each, e.g. to meet a target.

        Args:
            groups: All groups that may be pruned.
            remaining: Prices a choice: from kept units by group name to the shares of 'params', 'flops' and 'units'
                that are left inside the targets.
        """

    def budget(self) -> tuple[str, float] | None:
        """The quantity ('params', 'flops' or 'units') of which :meth:`select` is to leave a share, and that share."""
        return None

    def settled(self, kept: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Hear the units that are kept, by group name, once the budget is spent and before the user's rules.

        Args:
            kept: Sorted indices.
        """

    def remark(self, group: ChannelGroup) -> str:
        """Reason for leaving a group whole, for reports; empty if there is nothing to say."""
        return ''

    def select(self, group: ChannelGroup) -> Tensor | None:
        """The kept units, sorted, for criteria that decide the number themselves; else None."""
        return None
