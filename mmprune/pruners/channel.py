"""Structured pruning: channels really leave the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from mmprune.allocators.base import Allocator, Layer, split_target
from mmprune.allocators.budget import search_ratio
from mmprune.checkpoint.state import structure_of
from mmprune.criteria.base import Criterion
from mmprune.distortion.cuts import ChannelCut
from mmprune.errors import ConfigError
from mmprune.graph.find import OUTPUT, find_groups
from mmprune.graph.group import ChannelGroup, Keeps
from mmprune.graph.patterns import check_patterns, describe, matches
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.graph.verify import refuse_wrong_groups
from mmprune.measure.complexity import CostModel
from mmprune.measure.latency import FAST_MULTIPLE, LatencyModel
from mmprune.options import Count, PartConfig, Ratio, under
from mmprune.pruners.base import Images, Pruner
from mmprune.pruners.channel_plan import ChannelPlan, zero_columns
from mmprune.registry import ALLOCATORS, CRITERIA, PRUNERS, build_part
from mmprune.report.report import LayerRow


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
        """See the class.

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
        self.keep = [keep] if isinstance(keep, str) else list(keep)
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
        """See :meth:`Pruner.plan`."""
        scope = scope.with_heads() if self.prune_interface else scope
        groups = find_groups(scope.model, scope.forward, scope.example, scope.targets, self.prune_interface, self.keep)
        for group in groups:
            if group.reason == OUTPUT and scope.unseen:
                group.reason = f'feeds heads that cannot be traced: {scope.unseen}'
        _keep_former_grouped_convs(scope.model, groups)
        refuse_wrong_groups(scope.model, scope.forward, scope.probe_input(), groups)
        free = [group for group in groups if group.prunable]
        check_patterns(list(self.overrides), [g.name for g in groups], scope.targets, 'overrides')
        if not free:
            reasons = '; '.join(sorted({group.reason for group in groups})) or 'it has no conv or linear layer'
            raise ConfigError(f'target: nothing in {describe(scope.targets)} can be pruned ({reasons})')
        with tracing_mode(scope.model), under('criterion', self.criterion):
            self.criterion.prepare(free, scope.forward, self.criterion.images_for(scope.example, images))
        keeps = self._choose(free, scope, fraction, dense_widths or {}, images)
        rows = [
            LayerRow(
                g.name,
                g.width,
                len(keeps[g.name]) if g.name in keeps else g.width,
                g.reason or ('' if g.name in keeps else self.criterion.remark(g) or 'nothing to remove at this ratio'),
                [m.name for m in g.members()],
            )
            for g in groups
        ]
        measurer = getattr(self.allocator, 'measurer', None)
        note = measurer.describe(images) if measurer else ''
        return ChannelPlan(rows, self._warnings(rows, keeps), scope, groups, keeps, note=note)

    def _choose(
        self,
        groups: Sequence[ChannelGroup],
        scope: Scope,
        fraction: float,
        dense_widths: Mapping[str, int],
        images: Images,
    ) -> dict[str, Tensor]:
        if self.allocator is None:
            with under('criterion', self.criterion):
                return self._choose_by_criterion(groups, scope, fraction)
        scores = {} if self.order == 'sequential' else {g.name: self._scores(g) for g in groups}
        with under('allocator', self.allocator):
            counts = self._counts(groups, scores, scope, fraction, dense_widths, images)
        if self.order == 'dense':
            return {g.name: top(scores[g.name], counts[g.name]) for g in groups if counts[g.name] < g.width}
        return self._choose_in_order(groups, counts)

    def _choose_by_criterion(self, groups: Sequence[ChannelGroup], scope: Scope, fraction: float) -> dict[str, Tensor]:
        """The criterion decides the widths; overrides, rounding and minimum widths then apply to them."""
        costs = cache(lambda: CostModel(scope, groups))

        def count(group: ChannelGroup, kept: int) -> int:
            kept = group.width - math.floor((group.width - kept) * fraction)
            return self._round(self._override(group, scope, kept, fraction), group, 0, strict=False)

        def remaining(kept: Mapping[str, int]) -> dict[str, float]:
            counts = {g.name: count(g, kept[g.name]) for g in groups}
            left = costs().remaining(counts)
            return {
                'units': sum(counts.values()) / sum(g.width for g in groups),
                **{kind: left[kind] / whole for kind, whole in costs().total.items() if whole},
            }

        self.criterion.settle(groups, remaining)
        keeps = {}
        for group in groups:
            keep = self.criterion.select(group)
            if keep is None:
                raise ConfigError(
                    'allocator: missing; only criteria that decide the widths themselves can do '
                    f'without, {type(self.criterion).__name__} cannot'
                )
            keep, wanted = keep.cpu(), count(group, len(keep))
            if wanted != len(keep):
                scores = self._scores(group)
                scores[keep] += 1 + scores.max() - scores.min()  # what was selected goes last
                keep = top(scores, wanted)
            if len(keep) < group.width:
                keeps[group.name] = keep
        return keeps

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

    def _counts(
        self,
        groups: Sequence[ChannelGroup],
        scores: Mapping[str, Tensor],
        scope: Scope,
        fraction: float,
        dense_widths: Mapping[str, int],
        images: Images,
    ) -> dict[str, int]:
        """Kept units per group, from a ratio or from a search for a budget."""
        target = self.allocator.target
        kind, share, options = split_target(target) if target else ('', 1.0, {})
        costs = CostModel(scope, groups, None if kind == 'flops' else self._free_flops(scope))
        per_unit = costs.per_unit()
        layers = [
            Layer(
                name=g.name,
                width=max(g.width, dense_widths.get(g.name, g.width)),
                shape=tuple(g.producers[0].module.weight.shape),
                scores=_pad(scores.get(g.name), dense_widths.get(g.name, g.width)),
                params=per_unit[g.name]['params'],
                flops=per_unit[g.name]['flops'],
            )
            for g in groups
        ]

        if self.allocator.measurer is not None:
            cuts = [ChannelCut(group.name, group.readers, scores[group.name]) for group in groups]
            layers = self.allocator.measurer.fill(layers, cuts, scope, images)

        def counts_at(ratio: float, strict: bool) -> dict[str, int]:
            wanted = self.allocator.keep_counts(layers, ratio)
            return {
                g.name: self._round(self._override(g, scope, n, fraction, layer.width), g, ratio, strict)
                for g, layer, n in zip(groups, layers, wanted)
            }

        if target is None:
            return counts_at(self.allocator.ratio * fraction, strict=True)
        dense = {g.name: layer.width for g, layer in zip(groups, layers)}
        share = 1 - (1 - share) * fraction
        costs, tol = self._budget(kind, options, costs, scope, groups, dense)
        try:
            total = costs.remaining(dense)[kind]
            ratio = search_ratio(lambda r: costs.remaining(counts_at(r, strict=False))[kind] / total, share, tol)
        except ValueError as error:
            raise ValueError(f'target[{kind!r}]: {error}') from error
        return counts_at(ratio, strict=False)

    def _budget(
        self,
        kind: str,
        options: Mapping,
        costs: CostModel,
        scope: Scope,
        groups: Sequence[ChannelGroup],
        dense: Mapping[str, int],
    ) -> tuple[CostModel | LatencyModel, float]:
        """What prices a choice of widths by the target's quantity, and how exactly a ratio is worth searching."""
        if kind in costs.total:
            return costs, 1e-4
        if kind != 'latency':
            raise ValueError(f'target: knows params, flops and latency, got {kind!r}')
        if any(dense[group.name] > group.width for group in groups):
            raise ValueError(
                'target: latency is measured against the network as it is, and this '
                'one is cut in steps; give flops or params, or no pruning.schedule'
            )
        return LatencyModel(scope, groups, **options), 1e-2

    def _free_flops(self, scope: Scope) -> dict[str, int] | None:
        """FLOPs are measured only for allocators that ask: tracing them costs more than everything else here."""
        return None if getattr(self.allocator, 'needs_flops', False) else {}

    def _override(
        self, group: ChannelGroup, scope: Scope, count: int, fraction: float, dense_width: int | None = None
    ) -> int:
        pattern = matches(group.name, list(self.overrides), scope.targets)
        width = dense_width or group.width
        return count if pattern is None else math.floor(width * (1 - self.overrides[pattern] * fraction))

    def _round(self, count: int, group: ChannelGroup, ratio: float, strict: bool) -> int:
        if count >= group.width:
            return group.width
        if count < 1 and strict and self.min_channels is None:
            raise ValueError(
                f'ratio: {ratio:g} leaves no channel of {group.name} (width {group.width}); '
                f'take less than {1 - 1 / group.width:.3f}, or set pruner.min_channels'
            )
        if self.round_to > 1 and group.width >= self.round_to:
            count = max(self.round_to, (count + self.round_to // 2) // self.round_to * self.round_to)
        return min(group.width, max(count, self.min_channels or 1))

    def _warnings(self, rows: Sequence[LayerRow], keeps: Keeps) -> list[str]:
        odd = [
            row for row in rows if row.name in keeps and row.after % FAST_MULTIPLE and not row.before % FAST_MULTIPLE
        ]
        if not odd:
            return []
        return [
            f'{len(odd)} of {len(keeps)} new widths are no multiple of {FAST_MULTIPLE} (e.g. {odd[0].name}: '
            f'{odd[0].after}) and will be slow in onnxruntime and on GPUs; for deployment set '
            f'pruner.round_to={FAST_MULTIPLE}'
        ]


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


def _pad(scores: Tensor | None, dense_width: int) -> Tensor | None:
    """Scores with those of units that earlier steps removed put in front, as the least important."""
    if scores is None or len(scores) >= dense_width:
        return scores
    return torch.cat([scores.new_full((dense_width - len(scores),), min(0.0, scores.min().item())), scores])
