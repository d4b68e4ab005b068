"""A criterion of one's own: a channel counts as much as its filter says and its readers listen."""

from torch import Tensor

from mmprune.criteria.base import Criterion
from mmprune.graph.group import ChannelGroup
from mmprune.options import Positive
from mmprune.registry import CRITERIA


@CRITERIA.register_module()
class FanOut(Criterion):
    """Norm of a channel's filter, times the norm of the weights that read the channel."""

    def __init__(self, power: Positive = 1.0) -> None:
        self.power = power

    def scores(self, group: ChannelGroup) -> Tensor:
        """Shape (n,), float64; the smallest go first."""
        made = sum(filters.square().sum(dim=1) for filters in group.weights()).sqrt()
        branches = group.site.branches if group.site is not None else ()
        if not branches:  # a reader that is no plain conv or linear layer
            return made
        read = sum(branch.read_weight().square().sum(dim=(1, 2)) for branch in branches).sqrt()
        return made * read**self.power
