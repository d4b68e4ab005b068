"""Structured pruning: channels really leave the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mmprune.allocators.base import Allocator
from mmprune.allocators.budget import Budget, levels_by_score
from mmprune.checkpoint.record import structure_of
from mmprune.criteria.base import Criterion
from mmprune.errors import ConfigError
from mmprune.graph.find import OUTPUT, find_groups
from mmprune.graph.group import ChannelGroup
from mmprune.graph.patterns import check_patterns, describe
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.graph.unseen import keep_unseen
from mmprune.graph.verify import refuse_wrong_groups
from mmprune.options import Count, PartConfig, Ratio, under
from mmprune.pruners.base import Images, Pruner
from mmprune.pruners.channel_plan import ChannelPlan, zero_columns
from mmprune.pruners.widths import WidthRules, Widths, slow_widths
from mmprune.registry import ALLOCATORS, CRITERIA, PRUNERS, build_part
from mmprune.report.report import LayerRow
from mmprune.surgery.slicing import complement


@PRUNERS.register_module()
class ChannelPruner(Pruner):
    """Removes channels, group by group, on the groups of the traced network."""

    def __init__(
        self,
        criterion: PartConfig | Criterion = 'L2Norm',
        allocator: PartConfig | Allocator | None = None,
        keep: Sequence[str] = (),
        overrides: Mapping[str, Ratio] | None = None,
        round_to: Count = 1,
        min_channels: Count | None = None,
        prune_interface: bool = False,
        order: Literal['dense', 'sequential'] = 'dense',
    ) -> None:
        """Configure the cut.

        Args:
            criterion: Scores the units of a group; the smallest go.
            allocator: Number of units per group. None: the criterion decides itself.
            keep: fnmatch patterns of module names (from the model or from the target) whose outputs stay whole.
            overrides: Ratio for groups whose name matches an fnmatch pattern, whatever the allocator says.
            round_to: Widths become multiples of this where the layer has that many.
            min_channels: No group gets narrower. Default: a ratio that would empty a group is an error.
            prune_interface: Whether outputs of the target may change together with what reads them.
            order: ``'dense'`` scores everything on the untouched network, ``'sequential'`` scores a layer after its
                inputs were removed.
        """
        self.criterion = build_part(CRITERIA, criterion, 'criterion')
        self.allocator = None if allocator is None else build_part(ALLOCATORS, allocator, 'allocator')
        self.keep_patterns = [keep] if isinstance(keep, str) else list(keep)
        self.overrides = dict(overrides or {})
        if order == 'sequential' and self.allocator is not None and self.allocator.needs_scores:
            raise ValueError(
                "order='sequential' scores one layer after the other; "
                f'{type(self.allocator).__name__} compares all scores: use Uniform or WidthDependent'
            )
        self.round_to, self.min_channels, self.order = round_to, min_channels, order
        self.prune_interface = prune_interface

    def plan(
        self, scope: Scope, images: Images = None, fraction: float = 1.0, dense_widths: Mapping[str, int] | None = None
    ) -> ChannelPlan:
        """Score, allocate and choose the units that stay, see :meth:`Pruner.plan`."""
        scope, groups = self.groups(scope)
        free = prunable(groups, scope)
        with tracing_mode(scope.model), under('criterion', self.criterion):
            self.criterion.prepare(free, scope.forward, self.criterion.images_for(scope.example, images))
        rules = WidthRules(self.overrides, self.round_to, self.min_channels)
        keeps, note, budget = self._choose(Widths(scope, free, rules, fraction, dense_widths), images)
        rows = [self._row(group, keeps.get(group.name)) for group in groups]
        return ChannelPlan(rows, scope, groups, keeps, warnings=slow_widths(rows), note=note, budget=budget)

    def groups(self, scope: Scope) -> tuple[Scope, list[ChannelGroup]]:
        """Every channel group inside the targets, in forward order, each with the reason if it must stay whole.

        Returns:
            The scope as it will be cut (with a detector's heads where they may change, too), and the groups.

        Raises:
            ConfigError: A pattern of ``keep`` or ``overrides`` matches nothing, or the network cannot be followed.
        """
        scope = scope.with_heads() if self.prune_interface else scope
        groups = find_groups(
            scope.model, scope.forward, scope.example, scope.targets, self.prune_interface, self.keep_patterns
        )
        check_patterns(list(self.overrides), [group.name for group in groups], scope.targets, 'overrides')
        for group in groups:
            if group.reason == OUTPUT and scope.unseen:
                group.reason = f'feeds heads that cannot be traced: {scope.unseen}'
        _keep_former_grouped_convs(scope.model, groups)
        probe, elsewhere = scope.probe_input(), scope.left_out()
        refuse_wrong_groups(scope.model, scope.forward, probe, groups)
        return scope, [*groups, *keep_unseen(scope.model, scope.forward, probe, scope.targets, groups, elsewhere)]

    def _row(self, group: ChannelGroup, keep: Tensor | None) -> LayerRow:
        names = [member.name for member in group.members()]
        if keep is not None:
            return LayerRow(group.name, group.width, len(keep), group.reason, names)
        reason = group.reason or self.criterion.remark(group) or 'nothing to remove at this ratio'
        return LayerRow(group.name, group.width, group.width, reason, names)

    def _choose(self, widths: Widths, images: Images) -> tuple[dict[str, Tensor], str, Budget | None]:
        """The kept units of every group that loses some, how they were chosen, and what of a budget that used."""
        if self.allocator is None:
            with under('criterion', self.criterion):
                keeps, budget = self._choose_by_criterion(widths)
                return keeps, '', budget
        groups = widths.groups
        scores = {} if self.order == 'sequential' else {group.name: self._scores(group) for group in groups}
        with under('allocator', self.allocator):
            counts, note, budget = widths.allocated(self.allocator, scores, images)
        if self.order == 'sequential':
            return self._choose_in_order(groups, counts), note, budget
        keeps = {g.name: top(scores[g.name], counts[g.name]) for g in groups if counts[g.name] < g.width}
        return keeps, note, budget

    def _choose_by_criterion(self, widths: Widths) -> tuple[dict[str, Tensor], Budget | None]:
        """The criterion decides the widths; its own budget is then spent, and the user's rules apply to them."""
        self.criterion.settle(widths.groups, widths.remaining)
        chosen, budget = {group.name: self._selected(group) for group in widths.groups}, None
        counts = {name: len(keep) for name, keep in chosen.items()}
        if asked := self.criterion.budget():
            removed = {
                group.name: self._scores(group)[complement(chosen[group.name], group.width)].tolist()
                for group in widths.groups
            }
            counts, budget = widths.spent(counts, levels_by_score(counts, removed), *asked)
        final = {group.name: self._resized(group, chosen[group.name], counts[group.name]) for group in widths.groups}
        self.criterion.settled(final)
        keeps = {
            g.name: self._resized(g, final[g.name], widths.proposed(g, len(final[g.name]))) for g in widths.groups
        }
        return {
            group.name: keeps[group.name] for group in widths.groups if len(keeps[group.name]) < group.width
        }, budget

    def _selected(self, group: ChannelGroup) -> Tensor:
        keep = self.criterion.select(group)
        if keep is None:
            raise ConfigError(
                'allocator: missing; only criteria that decide the widths themselves can do '
                f'without, {type(self.criterion).__name__} cannot'
            )
        return keep.cpu()

    def _resized(self, group: ChannelGroup, keep: Tensor, wanted: int) -> Tensor:
        """So many units of a group; those that the criterion selected go last."""
        if wanted == len(keep):
            return keep
        scores = self._scores(group)
        scores[keep] += 1 + scores.max() - scores.min()
        return top(scores, wanted)

    def _choose_in_order(self, groups: Sequence[ChannelGroup], counts: Mapping[str, int]) -> dict[str, Tensor]:
        """Score each group with the inputs gone that earlier groups lose; weights are put back afterwards."""
        backup = {m.module: m.module.weight.data.clone() for group in groups for m in group.readers}
        keeps: dict[str, Tensor] = {}
        try:
            for group in groups:
                if counts[group.name] < group.width:
                    keeps[group.name] = top(self._scores(group), counts[group.name])
                    zero_columns(group, keeps[group.name])
        finally:
            for module, weight in backup.items():
                module.weight.data.copy_(weight)
        return keeps

    def _scores(self, group: ChannelGroup) -> Tensor:
        with under('criterion', self.criterion):
            scores = self.criterion.scores(group).cpu()
        if scores.shape != (group.width,):
            raise RuntimeError(
                f'{type(self.criterion).__name__} gave {tuple(scores.shape)} scores for {group.name}, '
                f'which has {group.width} units'
            )
        if not torch.isfinite(scores).all():
            raise ConfigError(
                f'load_from: the weights of {group.name} give non-finite scores '
                f'({type(self.criterion).__name__}); the checkpoint holds NaN or Inf'
            )
        return scores


def prunable(groups: Sequence[ChannelGroup], scope: Scope) -> list[ChannelGroup]:
    """Those groups that may lose units.

    Raises:
        ConfigError: There is none; the message gives the reasons.
    """
    free = [group for group in groups if group.prunable]
    if not free:
        reasons = (
            '; '.join(sorted({group.reason for group in groups}))
            or 'no conv or linear layer in it leads to the outputs for this example'
        )
        raise ConfigError(f'target: nothing in {describe(scope.targets)} can be pruned ({reasons})')
    return free


def _keep_former_grouped_convs(model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
    """A grouped conv with one channel per group left looks depthwise, but its record cannot lose whole groups."""
    structure = structure_of(model)
    for group in groups:
        for member in group.depthwise:
            cut = structure.modules.get(member.name) if structure else None
            if cut is not None and cut.inputs is not None:
                group.reason = group.reason or f'{member.name} has one channel per group left'


def top(scores: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest scores, sorted; of equal ones the first stay."""
    return torch.argsort(scores, descending=True, stable=True)[:count].sort().values
