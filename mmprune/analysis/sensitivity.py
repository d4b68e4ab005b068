"""What each group or layer costs: how far the output moves when it alone is pruned by a ratio."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence

import torch
from torch import Tensor

from mmprune.analysis.context import Context
from mmprune.criteria import Criterion
from mmprune.distortion import CurveMeasurer
from mmprune.distortion.curves import output_errors
from mmprune.distortion.cuts import ChannelCut
from mmprune.errors import ConfigError
from mmprune.graph.find import find_groups
from mmprune.graph.group import ChannelGroup
from mmprune.graph.tracing import real_maps, tracing_mode
from mmprune.registry import CRITERIA, build_part
from mmprune.report.plots import plot_sensitivity
from mmprune.report.tables import table

RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)


def sensitivity(context: Context) -> tuple[str, dict]:
    """Distortion per group and ratio, relative to the output's own mean square; on noise, or on given images.

    The channels go in the order of the config's criterion (default: L2Norm), nothing is repaired.

    Returns:
        A table to print, and the same as plain data.
    """
    args, scope = context.args, context.scope
    ratios = sorted(set(args.ratios or RATIOS))
    if not 0 < ratios[0] <= ratios[-1] < 1:
        raise ConfigError(f'--ratios: shares in (0, 1), got {" ".join(map(str, ratios))}')
    pruner = context.settings.get('pruner', {})
    criterion = build_part(CRITERIA, pruner.get('criterion', 'L2Norm'), 'pruning.pruner.criterion')
    found = find_groups(
        scope.model,
        scope.forward,
        scope.example,
        scope.targets,
        pruner.get('prune_interface', False),
        pruner.get('keep', ()),
    )
    free = [group for group in found if group.prunable]
    if not free:
        raise ConfigError(f'target: nothing in {", ".join(scope.targets)} can be pruned')
    cuts = _cuts(free, criterion, context)
    measurer = CurveMeasurer(num_images=min(args.num_images, 64), worst_case=False, points=100)
    curves = measurer.measure(cuts, scope, context.images)
    scale = _mean_square(context, measurer)
    layers = [
        {
            'name': group.name,
            'width': group.width,
            'ratios': ratios,
            'distortion': [_at(curves[group.name], group.width, ratio) / scale for ratio in ratios],
        }
        for group in free
    ]
    if args.plot:
        plot_sensitivity(layers, osp.expanduser(args.plot))
    rows = [
        ('group', 'width', *(f'{ratio:g}' for ratio in ratios)),
        *((row['name'], str(row['width']), *(f'{value:.3g}' for value in row['distortion'])) for row in layers),
    ]
    note = f'share of the output that changes when so much of one group goes, by {type(criterion).__name__}; '
    return (
        f'{table(rows)}\n{note}{measurer.describe(context.images)}',
        {'sensitivity': layers, 'measured_on': measurer.describe(context.images)},
    )


def _cuts(groups: Sequence[ChannelGroup], criterion: Criterion, context: Context) -> list[ChannelCut]:
    scope = context.scope
    with tracing_mode(scope.model):
        criterion.prepare(groups, scope.forward, criterion.images_for(scope.example, context.images))
    return [ChannelCut(group.name, group.readers, criterion.scores(group).cpu()) for group in groups]


def _mean_square(context: Context, measurer: CurveMeasurer) -> float:
    """Mean square of the dense network's output, over all its tensors as :func:`output_errors` counts them."""
    scope, total, count = context.scope, 0.0, 0
    with tracing_mode(scope.model), torch.no_grad():
        for batch in measurer.batches(scope, context.images):
            outputs = real_maps(scope.forward(batch))
            errors = output_errors(outputs, [torch.zeros_like(out) for out in outputs])
            total, count = total + float(errors.sum()), count + len(errors)
    return max(total / count, 1e-30)


def _at(curve: tuple[Tensor, Tensor], width: int, ratio: float) -> float:
    """A curve's distortion where ``ratio`` of the units are gone (the next grid point that removes that much)."""
    kept, distortion = curve
    wanted = width - int(width * ratio)
    index = int((kept <= wanted).nonzero()[0])
    return float(distortion[index])
