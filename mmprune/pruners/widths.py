"""Number of units that every group keeps: what an allocator or a criterion proposes, within the rules of the user."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmprune.allocators.base import Allocator, Layer
from mmprune.allocators.budget import Budget, Counts, spend_rest, within_budget
from mmprune.distortion.cuts import ChannelCut
from mmprune.graph.group import ChannelGroup
from mmprune.graph.patterns import matches
from mmprune.graph.scope import Scope
from mmprune.images.source import ImageSource
from mmprune.measure.complexity import CostModel
from mmprune.measure.latency import FAST_MULTIPLE, LatencyModel
from mmprune.measure.target import TimedTarget
from mmprune.report.report import LayerRow

#: Choices of widths that are timed at most to spend what is left of a budget of latency.
PATIENCE = 24


@dataclass(frozen=True)
class WidthRules:
    """The user's own word on widths, whoever proposes them.

    Attributes:
        overrides: Ratio of the groups whose name matches an fnmatch pattern.
        round_to: Widths become multiples of this where the layer has that many.
        min_channels: No group gets narrower. None: a ratio that would empty a group is an error.
    """

    overrides: Mapping[str, float]
    round_to: int = 1
    min_channels: int | None = None


@dataclass(frozen=True)
class Widths:
    """The widths of one network's groups after one step of pruning.

    Attributes:
        scope: The network.
        groups: The groups that may be pruned, in forward order.
        rules: What the user wants whatever is proposed.
        fraction: Share of the full removal to do now, in (0, 1].
        dense_widths: Width of every group before the first step of a schedule; empty at the first step.
    """

    scope: Scope
    groups: Sequence[ChannelGroup]
    rules: WidthRules
    fraction: float = 1.0
    dense_widths: Mapping[str, int] | None = None

    def dense(self, group: ChannelGroup) -> int:
        """Units that a group had before the first step."""
        return max(group.width, (self.dense_widths or {}).get(group.name, group.width))

    def allocated(
        self, allocator: Allocator, scores: Mapping[str, Tensor], images: ImageSource | None
    ) -> tuple[dict[str, int], str, Budget | None]:
        """The kept units of every group by an allocator, at its ratio or within its budget.

        Args:
            allocator: Proposes the counts.
            scores: Of every group's units, shape ``(n,)``; empty if groups are scored later, one after the other.
            images: Batches of normalised images for allocators that measure.

        Returns:
            The counts by group name, the allocator's note for the report, and what its budget was used for.
        """
        target = allocator.budget
        kind = '' if target is None else target.quantity
        # Tracing FLOPs costs more than all else here, so only those who ask get them.
        costs = self.costs if kind == 'flops' or allocator.needs_flops else CostModel(self.scope, self.groups, {})
        cuts = [ChannelCut(g.name, g.readers, scores[g.name]) for g in self.groups if g.name in scores]
        layers, note = allocator.prepare(self._layers(costs, scores), cuts, self.scope, images)

        def counts_at(ratio: float, strict: bool = False) -> dict[str, int]:
            wanted = allocator.keep_counts(layers, ratio)
            return {g.name: self._ruled(g, count, ratio if strict else None) for g, count in zip(self.groups, wanted)}

        if target is None:
            return counts_at(allocator.ratio * self.fraction, strict=True), note, None
        prices, tol = self._prices(target, costs)
        dense = {group.name: self.dense(group) for group in self.groups}
        whole, asked = prices.remaining(dense)[kind], 1 - (1 - target.share) * self.fraction

        def remaining(counts: Counts) -> float:
            return prices.remaining(counts)[kind] / whole

        limits = dict(patience=PATIENCE, spent=tol) if kind == 'latency' else {}
        try:
            counts = within_budget(counts_at, dense, remaining, asked, tol, self.rules.round_to, **limits)
        except ValueError as error:
            raise ValueError(f'target[{kind!r}]: {error}') from error
        return counts, note, Budget(kind, asked, remaining(counts))

    def spent(self, kept: Counts, levels: Iterable[Counts], quantity: str, asked: float) -> tuple[Counts, Budget]:
        """The kept units of a criterion that decides the widths itself, once all steps are done, within its budget.

        Args:
            kept: Units by group name that the criterion would keep.
            levels: Units where it would remove less and less.
            quantity: 'units', 'params' or 'flops'.
            asked: Share of it that may remain.
        """
        dense = {group.name: self.dense(group) for group in self.groups}

        def ruled(counts: Counts) -> dict[str, int]:
            return {group.name: self._ruled(group, counts[group.name], fraction=1.0) for group in self.groups}

        def remaining(counts: Counts) -> float:
            return self.remaining(counts)[quantity]

        kept = spend_rest(ruled(kept), map(ruled, levels), dense, remaining, asked, self.rules.round_to)
        return kept, Budget(quantity, asked, remaining(kept))

    def proposed(self, group: ChannelGroup, kept: int) -> int:
        """The kept units of a group of which a criterion would keep so many once all steps are done."""
        return self._ruled(group, group.width - math.floor((group.width - kept) * self.fraction))

    def remaining(self, kept: Counts) -> dict[str, float]:
        """Shares of 'units', 'params' and 'flops' that a criterion's choice leaves inside the targets in the end.

        Args:
            kept: Units by group name that the criterion would keep.
        """
        dense = {group.name: self.dense(group) for group in self.groups}
        counts = {group.name: self._ruled(group, kept[group.name], fraction=1.0) for group in self.groups}
        left, total = self.costs.remaining(counts), self.costs.remaining(dense)
        return {
            'units': sum(counts.values()) / sum(dense.values()),
            **{kind: left[kind] / whole for kind, whole in total.items() if whole},
        }

    @cached_property
    def costs(self) -> CostModel:
        """Parameters and FLOPs by the groups' widths."""
        return CostModel(self.scope, self.groups)

    def _layers(self, costs: CostModel, scores: Mapping[str, Tensor]) -> list[Layer]:
        prices = costs.per_unit()
        return [
            Layer(
                name=group.name,
                width=self.dense(group),
                shape=tuple(group.producers[0].module.weight.shape),
                scores=_padded(scores.get(group.name), self.dense(group)),
                params=prices[group.name]['params'],
                flops=prices[group.name]['flops'],
            )
            for group in self.groups
        ]

    def _prices(self, target: TimedTarget, costs: CostModel) -> tuple[CostModel | LatencyModel, float]:
        """Prices of widths in a budget's quantity, and the tolerance to which a ratio is worth searching."""
        if target.quantity in costs.total:
            return costs, 1e-4
        if any(self.dense(group) > group.width for group in self.groups):
            raise ValueError(
                'target: latency is measured against the network as it is, and this '
                'one is cut in steps; give flops or params, or no pruning.schedule'
            )
        return LatencyModel(self.scope, self.groups, **target.measurement), 1e-2

    def _ruled(
        self, group: ChannelGroup, count: int, ratio: float | None = None, fraction: float | None = None
    ) -> int:
        """A proposed count with the user's rules applied; a ratio is to blame if it leaves no channel."""
        rules, width, fraction = self.rules, group.width, self.fraction if fraction is None else fraction
        if pattern := matches(group.name, list(rules.overrides), self.scope.targets):
            count = math.floor(self.dense(group) * (1 - rules.overrides[pattern] * fraction))
        if count >= width:
            return width
        if count < 1 and ratio is not None and rules.min_channels is None:
            raise ValueError(
                f'ratio: {ratio:g} leaves no channel of {group.name} (width {width}); '
                f'take less than {1 - 1 / width:.3f}, or set pruner.min_channels'
            )
        if rules.round_to > 1 and width >= rules.round_to:
            count = max(rules.round_to, (count + rules.round_to // 2) // rules.round_to * rules.round_to)
        return min(width, max(count, rules.min_channels or 1))


def slow_widths(rows: Sequence[LayerRow]) -> list[str]:
    """A warning if new widths are slow where old ones were not; else nothing."""
    cut = [row for row in rows if row.after < row.before]
    odd = [row for row in cut if row.after % FAST_MULTIPLE and not row.before % FAST_MULTIPLE]
    if not odd:
        return []
    return [
        f'{len(odd)} of {len(cut)} new widths are no multiple of {FAST_MULTIPLE} (e.g. {odd[0].name}: '
        f'{odd[0].after}) and will be slow in onnxruntime and on GPUs; for deployment set '
        f'pruner.round_to={FAST_MULTIPLE}'
    ]


def _padded(scores: Tensor | None, dense_width: int) -> Tensor | None:
    """Scores with those of units that earlier steps removed put in front, as the least important."""
    if scores is None or len(scores) >= dense_width:
        return scores
    return torch.cat([scores.new_full((dense_width - len(scores),), min(0.0, scores.min().item())), scores])
