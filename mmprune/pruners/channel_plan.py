"""Plan of a structured cut: the units that stay, and taking away the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from mmprune.checkpoint.record import record_cut
from mmprune.graph.group import ChannelGroup, removed_channels
from mmprune.graph.site import Site
from mmprune.graph.unseen import training_problem
from mmprune.graph.verify import TOLERANCE, slice_groups, slicing_error
from mmprune.pruners.base import Images, Plan
from mmprune.restorers.base import Restorer
from mmprune.surgery.slicing import complement, widths


@dataclass
class ChannelPlan(Plan):
    """Channels that are going to leave the network.

    Attributes:
        groups: All channel groups, in forward order.
        keeps: Kept units, sorted, of every group that loses some, by its name.
    """

    groups: Sequence[ChannelGroup]
    keeps: dict[str, Tensor]

    @contextmanager
    def trial(self) -> Iterator[None]:
        """The network sliced but not repaired, for as long as the context lasts."""
        undo = slice_groups(self.scope.model, self.groups, self.keeps)
        try:
            yield
        finally:
            undo.take_back()

    def apply(self, restorer: Restorer | None = None, images: Images = None) -> None:
        """Repair the readers group by group in forward order, slice everything at once, check, and note it.

        Raises:
            RuntimeError: The sliced network does not compute what the zeroed dense one does.
        """
        model, forward = self.scope.model, self.scope.forward
        losing = [group for group in self.groups if group.name in self.keeps]
        if restorer is not None:
            images = restorer.images_for(self.scope.example, images)
            restorer.prepare([g.site for g in losing if not _obstacle(g.site, restorer)], forward, images)
        rows = {row.name: row for row in self.rows}
        for group in losing:
            if restorer is not None:
                reason = _obstacle(group.site, restorer) or restorer.restore_site(group.site, self.keeps[group.name])
                rows[group.name].repair = f'only sliced: {reason}' if reason else type(restorer).__name__
                zero_columns(group, self.keeps[group.name])
        self._slice()
        if restorer is not None:
            restorer.restore_model(model, forward, images)

    def _slice(self) -> None:
        model = self.scope.model
        error, problem = slicing_error(model, self.scope.forward, self.scope.probe_input(), self.groups, self.keeps)
        if error > TOLERANCE:
            raise RuntimeError(
                f'the sliced network is not the zeroed dense one ({problem}); this is a defect of mmprune '
                'or of the traced coupling, and the network was left whole'
            )
        if problem := training_problem(model, self.scope.forward, self.scope.probe_input(), self.groups, self.keeps):
            raise RuntimeError(
                f'the sliced network does not run in training mode ({problem}); this is a defect of mmprune, and the '
                'network was left whole'
            )
        self._note()
        slice_groups(model, self.groups, self.keeps).make_final()

    def _note(self) -> None:
        sides = (
            {
                module: complement(channels, widths(module)[side])
                for module, channels in removed.items()
                if len(channels)
            }
            for side, removed in enumerate(removed_channels(self.groups, self.keeps))
        )
        record_cut(self.scope.model, *sides)


def _obstacle(site: Site, restorer: Restorer) -> str:
    """The reason why a restorer can do nothing for a site; empty if it can."""
    return site.problem if restorer.needs_chain or not site.branches else ''


def zero_columns(group: ChannelGroup, keep: Tensor) -> None:
    """Silence the removed units in every reader, so that later layers see the weights that will remain."""
    for member in group.readers:
        weight, removed = member.module.weight.data, member.removed_channels(keep)
        if getattr(member.module, 'transposed', False):
            weight[removed.to(weight.device)] = 0
        else:  # grouped convs lose the same positions in every group
            weight[:, (removed % weight.shape[1]).to(weight.device)] = 0
