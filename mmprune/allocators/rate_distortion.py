"""Joint allocation on rate-distortion curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from torch import Tensor

from mmprune.allocators.base import Allocator, Layer, TargetOptions, check_ratio
from mmprune.allocators.global_allocator import unit_costs
from mmprune.allocators.knapsack import solve
from mmprune.allocators.ranking import sorted_scores
from mmprune.distortion.curves import CurveMeasurer
from mmprune.distortion.cuts import Cut
from mmprune.graph.scope import Scope
from mmprune.images.source import ImageSource
from mmprune.measure.target import TimedTarget
from mmprune.options import Count, NonNegativeCount, Ratio, build
from mmprune.registry import ALLOCATORS

#: Without ``options``, layers up to this many units may take every width, wider ones so many intervals.
EVERY_WIDTH_UP_TO, INTERVALS = 512, 100


@ALLOCATORS.register_module()
class RateDistortion(Allocator):
    """The widths whose distortions sum up to the least within a budget (Xu et al., ICCV 2023).

    Curves are measured on the network's output, or are the sums of the removed units' scores, which is the distortion
    itself for additive criteria such as MomentOBS. They are made monotone: keeping more never counts as worse.
    """

    needs_scores = True

    def __init__(
        self,
        ratio: Ratio | None = None,
        target: TargetOptions | None = None,
        constraint: Literal['units', 'params', 'flops'] | None = None,
        options: Count | None = None,
        min_keep: NonNegativeCount = 1,
        solver: Literal['dp', 'exact', 'hull'] = 'dp',
        buckets: Count = 20_000,
        curves: Literal['measured', 'scores'] | dict | CurveMeasurer = 'measured',
    ) -> None:
        """Configure the allocation.

        Args:
            ratio: Share to remove, in [0, 1), of what ``constraint`` names.
            target: Share of FLOPs or parameters that may remain, instead of ``ratio``.
            constraint: What the budget counts: 'units', or their 'params' or 'flops' (multiply-adds). Defaults to what
                ``target`` names, else to units.
            options: Intervals of the grid of widths that a layer with more units than that may take, relative to the
                units that are alive. None: every width up to 512 units, else 100 intervals.
            min_keep: Units that every layer keeps at least; 0 lets whole layers vanish.
            solver: 'dp', 'exact' or 'hull', see :func:`mmprune.allocators.knapsack.solve`.
            buckets: Resolution of the solver 'dp'.
            curves: 'measured', a dict of options for :class:`~mmprune.distortion.CurveMeasurer` (e.g.
                ``dict(num_images=1024, worst_case=False)``), or 'scores'.
        """
        super().__init__(ratio, target)
        counted = constraint or _constraint_of(self.budget)
        self.constraint, self.options, self.min_keep = counted, options, min_keep
        self.solver, self.buckets = solver, buckets
        self.needs_flops = counted == 'flops'
        self.counts = 'unit' if counted == 'units' else counted
        self.measurer = None if curves == 'scores' else _measurer(curves)

    def prepare(
        self, layers: Sequence[Layer], cuts: Sequence[Cut], scope: Scope, images: ImageSource | None
    ) -> tuple[list[Layer], str]:
        """Measure the curves, unless they are the scores' sums."""
        if self.measurer is None:
            return list(layers), ''
        curves = self.measurer.measure(cuts, scope, images)
        filled = [replace(layer, curve=curves[cut.name]) for layer, cut in zip(layers, cuts)]
        return filled, self.measurer.describe(images)

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """The optimal number of kept units per layer."""
        check_ratio(ratio)
        prices = unit_costs(layers, self.counts, 'constraint')
        curves = [self.curve(layer) for layer in layers]
        costs = [kept * price for (kept, _), price in zip(curves, prices)]
        budget = (1 - ratio) * sum(layer.alive * price for layer, price in zip(layers, prices))
        cheapest = sum(cost.min() for cost in costs)
        if budget < cheapest * (1 - 1e-12) and self.budget is None:
            raise ValueError(
                f'ratio: {ratio:g} leaves a budget of {budget:.6g} {self.constraint}, but with '
                f'min_keep={self.min_keep} and the options offered at least {cheapest:.6g} remain; '
                'give a smaller ratio or min_keep'
            )
        chosen = solve(costs, [d for _, d in curves], max(budget, cheapest), self.solver, self.buckets)
        return [int(kept[option]) for (kept, _), option in zip(curves, chosen)]

    def curve(self, layer: Layer) -> tuple[np.ndarray, np.ndarray]:
        """The options of a layer.

        Returns:
            Kept counts, falling from ``alive`` (int64), and distortions, rising from 0 (float64), both of shape
            ``(k,)``.
        """
        least = min(self.min_keep, layer.alive)
        if layer.curve is not None:
            return _measured_curve(layer, layer.curve, least)
        scores = sorted_scores(layer, 'RateDistortion')
        kept = self._widths(layer.alive)
        kept = np.append(kept[kept > least], least)
        distortion = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
        return kept, distortion[layer.alive - kept]

    def _widths(self, alive: int) -> np.ndarray:
        """Widths that may be offered, falling from ``alive`` to 0."""
        intervals = self.options or (alive if alive <= EVERY_WIDTH_UP_TO else INTERVALS)
        if alive <= intervals:
            return np.arange(alive, -1, -1)
        removed = alive * np.arange(intervals + 1, dtype=np.int64) // intervals
        return alive - removed


def _constraint_of(target: TimedTarget | None) -> str:
    """Default of a budget's currency: the target's quantity, and for time its nearest price."""
    if target is None:
        return 'units'
    return 'flops' if target.latency is not None else target.quantity


def _measurer(curves: Literal['measured'] | dict | CurveMeasurer) -> CurveMeasurer:
    if isinstance(curves, CurveMeasurer):
        return curves
    return build(CurveMeasurer, {} if curves == 'measured' else curves, 'curves')


def _measured_curve(layer: Layer, curve: tuple[Tensor, Tensor], least: int) -> tuple[np.ndarray, np.ndarray]:
    """The curve of a layer between ``least`` and ``alive`` kept units, checked, sorted and made monotone."""
    kept: np.ndarray
    distortion: np.ndarray
    kept, distortion = (np.asarray(values.detach().cpu(), dtype=np.float64).ravel() for values in curve)
    if kept.shape != distortion.shape or not kept.size:
        raise ValueError(f'curve of {layer.name}: {kept.size} kept counts, but {distortion.size} distortions')
    if not np.isfinite(distortion).all() or (distortion < 0).any():
        raise ValueError(f'curve of {layer.name}: distortions must be finite and >= 0')
    if (kept != np.rint(kept)).any() or (kept < 0).any() or (kept > layer.width).any():
        raise ValueError(f'curve of {layer.name}: kept counts must be whole numbers from 0 to {layer.width}')
    inside = (kept >= least) & (kept < layer.alive)
    order = np.argsort(-kept[inside], kind='stable')
    kept, distortion = kept[inside][order].astype(np.int64), distortion[inside][order]
    # Nothing more removed means nothing changed: that point needs no measurement.
    kept, distortion = np.append(layer.alive, kept), np.append(0.0, distortion)
    return kept, np.maximum.accumulate(distortion)
