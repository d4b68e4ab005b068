"""Looks at a network before or after pruning; each gives a table to print and the same as plain data."""

from __future__ import annotations

import argparse
import os.path as osp
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmprune.distortion import CurveMeasurer
from mmprune.distortion.curves import output_errors
from mmprune.distortion.cuts import ChannelCut
from mmprune.errors import ConfigError
from mmprune.expanders.analysis import LayerGraph, analyse
from mmprune.graph.group import ChannelGroup
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import real_maps, tracing_mode
from mmprune.images.loader import LoaderImages
from mmprune.measure.complexity import measure, module_flops
from mmprune.measure.latency import measure_latency, ratio
from mmprune.measure.stopwatch import threads
from mmprune.moments import check_moments
from mmprune.options import under
from mmprune.pipeline import seed_everything
from mmprune.pruners import ChannelPruner, ExpanderPruner
from mmprune.pruners.base import Pruner
from mmprune.pruners.channel import prunable
from mmprune.registry import MODELS, PRUNERS, build_part
from mmprune.report.plots import plot_expanders, plot_sensitivity
from mmprune.report.tables import human, table
from mmprune.surgery.masking import masks, trained_masks

#: A table to print, and the same as plain data.
Look = tuple[str, dict]
#: Shares of a group that :func:`sensitivity` removes unless told.
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass
class Context:
    """One network, where it is pruned, and the options of the command line.

    Attributes:
        cfg: The config.
        args: Arguments of tools/analyze.py.
        scope: The network (with the checkpoint's weights and widths), its example input and targets.
    """

    cfg: Config
    args: argparse.Namespace
    scope: Scope

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.scope.model

    @property
    def settings(self) -> dict:
        """The config's ``pruning``; empty if it has none."""
        return self.cfg.get('pruning') or {}

    @cached_property
    def images(self) -> LoaderImages | None:
        """The images of the loader that --images names."""
        if not self.args.images:
            return None
        return LoaderImages(self.cfg, self.model, self.args.images, self.args.num_images)

    @cached_property
    def pruner(self) -> ChannelPruner:
        """The config's pruner; one of channels without options where the config prunes weights, or nothing."""
        pruner: Pruner = build_part(PRUNERS, self.settings.get('pruner') or 'ChannelPruner', 'pruning.pruner')
        return pruner if isinstance(pruner, ChannelPruner) else ChannelPruner()

    def groups(self) -> tuple[Scope, list[ChannelGroup]]:
        """The scope as the pruner cuts it, and its channel groups with the pruner's reasons."""
        with under('pruning.pruner', self.pruner):
            return self.pruner.groups(self.scope)

    def dense(self) -> nn.Module:
        """The network of the config as nobody has cut it."""
        return MODELS.build(self.cfg.model).to(self.args.device).eval()


def groups(context: Context) -> Look:
    """Every channel group, its members, and why it would stay whole."""
    _, found = context.groups()
    problems = [group.site.problem if group.site else '' for group in found]
    members = [[member.name for member in group.members()] for group in found]
    rows = [('group', 'width', 'members', 'prunable', 'remark')]
    for group, problem, names in zip(found, problems, members):
        rows.append(
            (
                group.name,
                str(group.width),
                ', '.join(names[1:5]) + (' …' if len(names) > 5 else ''),
                'yes' if group.prunable else 'no',
                group.reason or (problem and f'repair by measuring only: {problem}'),
            )
        )
    return table(rows), {
        'groups': [
            {'name': g.name, 'width': g.width, 'members': names, 'reason': g.reason, 'problem': problem}
            for g, problem, names in zip(found, problems, members)
        ]
    }


def complexity(context: Context) -> Look:
    """Parameters and multiply-adds, in all and per module that has weights of its own."""
    flops, counts = module_flops(context.scope), measure(context.scope)
    rows, layers = [('module', 'params', 'FLOPs')], []
    for name, module in context.model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own:
            rows.append((name, human(own), human(flops.get(name, 0))))
            layers.append({'name': name, 'params': own, 'flops': flops.get(name, 0)})
    rows.append(('total', human(counts.params), human(counts.flops)))
    return table(rows), {**asdict(counts), 'layers': layers}


def latency(context: Context) -> Look:
    """Time of the dense and of the pruned network, alternating in one process."""
    scope, args = context.scope, context.args
    dense = Scope(context.dense(), scope.example, scope.targets)
    example, calls = scope.probe_input(), {'dense': lambda: dense.forward(example)}
    if args.checkpoint:
        calls['pruned'] = lambda: scope.forward(example)
    with threads(args.threads), tracing_mode(dense.model), tracing_mode(scope.model):
        count = torch.get_num_threads()
        found = measure_latency(calls, args.runs)
    flops = {'dense': measure(dense).flops, 'pruned': measure(scope).flops}
    rows = [('network', 'FLOPs', 'p5 ms', 'p50 ms', 'p95 ms')]
    rows += [
        (name, human(flops[name]), f'{v.p5_ms:.1f}', f'{v.p50_ms:.1f}', f'{v.p95_ms:.1f}') for name, v in found.items()
    ]
    shape = list(cast(Tensor, scope.example).shape)
    text = table(rows) + f'\ninput {"×".join(map(str, shape))}, {args.device}, {count} threads, {args.runs} runs each'
    result = {
        'latency': {name: asdict(v) for name, v in found.items()},
        'flops': flops,
        'input_shape': shape,
        'threads': count,
        'device': args.device,
    }
    if 'pruned' in found:
        result['speedup'] = round(ratio(found, 'dense', 'pruned'), 3)
        result['flops_ratio'] = round(flops['dense'] / flops['pruned'], 3)
        text += f'\n{result["speedup"]:.2f}× faster with {result["flops_ratio"]:.2f}× fewer FLOPs'
    return text, result


def moments(context: Context) -> Look:
    """Errors of MomentRestoration's model in the running variances, and in the activations if there are images."""
    scope, found = context.groups()
    with tracing_mode(scope.model), torch.no_grad():
        checks = check_moments(
            [g.site for g in found if g.prunable and g.site is not None], scope.forward, context.images
        )
    head = ('rho', 'running variances (r)', 'means (rms, σ)', 'deviations (rel.)', 'correlations (r)')
    rows: list[tuple[str, ...]] = [('group', *head, 'remark')]
    for c in checks:
        values = c.rho, c.variance_correlation, c.mean_error, c.std_error, c.covariance_correlation
        rows.append((c.name, *('' if value is None else f'{value:.3f}' for value in values), c.problem))
    text = table(rows)
    known = [c.variance_correlation for c in checks if c.variance_correlation is not None]
    if known:
        text += (
            f'\npredicted against stored log running variance: r = {sum(known) / len(known):.3f} on average '
            f'over {len(known)} of {len(checks)} groups'
        )
    return text, {'moments': [asdict(c) for c in checks]}


def sensitivity(context: Context) -> Look:
    """Distortion per group and ratio, relative to the output's own mean square; on noise, or on given images.

    The channels go in the order of the config's criterion (default: L2Norm), nothing is repaired.
    """
    args, criterion = context.args, context.pruner.criterion
    ratios = sorted(set(args.ratios or RATIOS))
    if not 0 < ratios[0] <= ratios[-1] < 1:
        raise ConfigError(f'--ratios: shares in (0, 1), got {" ".join(map(str, ratios))}')
    scope, found = context.groups()
    free = prunable(found, scope)
    with tracing_mode(scope.model), under('pruning.pruner.criterion', criterion):
        criterion.prepare(free, scope.forward, criterion.images_for(scope.example, context.images))
        cuts = [ChannelCut(group.name, group.readers, criterion.scores(group).cpu()) for group in free]
    measurer = CurveMeasurer(num_images=min(args.num_images, 64), worst_case=False, points=100)
    curves, scale = measurer.measure(cuts, scope, context.images), _mean_square(scope, measurer, context.images)
    layers: list[dict[str, Any]] = [
        {
            'name': group.name,
            'width': group.width,
            'ratios': ratios,
            'distortion': [_at(curves[group.name], group.width, share) / scale for share in ratios],
        }
        for group in free
    ]
    if args.plot:
        plot_sensitivity(layers, osp.expanduser(args.plot))
    rows: list[tuple[str, ...]] = [('group', 'width', *(f'{share:g}' for share in ratios))]
    rows += [(row['name'], str(row['width']), *(f'{value:.3g}' for value in row['distortion'])) for row in layers]
    note = f'share of the output that changes when so much of one group goes, by {type(criterion).__name__}; '
    measured_on = measurer.describe(context.images)
    return f'{table(rows)}\n{note}{measured_on}', {'sensitivity': layers, 'measured_on': measured_on}


def _mean_square(scope: Scope, measurer: CurveMeasurer, images: LoaderImages | None) -> float:
    """Mean square of the dense network's output, over all its tensors as :func:`output_errors` counts them."""
    total, count = 0.0, 0
    with tracing_mode(scope.model), torch.no_grad():
        for batch in measurer.batches(scope, images):
            outputs = real_maps(scope.forward(batch))
            errors = output_errors(outputs, [torch.zeros_like(out) for out in outputs])
            total, count = total + float(errors.sum()), count + len(errors)
    return max(total / count, 1e-30)


def _at(curve: tuple[Tensor, Tensor], width: int, share: float) -> float:
    """A curve's distortion where a share of the units is gone (the next grid point that removes that much)."""
    kept, distortion = curve
    index = int((kept <= width - int(width * share)).nonzero()[0])
    return float(distortion[index])


def expander(context: Context) -> Look:
    """The graphs of a checkpoint's masks, or those that a run of the config would draw."""
    args, scope, text = context.args, context.scope, ''
    if args.samples < 1:
        raise ConfigError(f'--samples: at least 1, got {args.samples}')
    found = masks(scope.model) or trained_masks(scope.model)
    if args.checkpoint and not found:
        raise ConfigError(f'{args.checkpoint}: holds no masks')
    if not found:
        seed_everything((context.cfg.get('randomness') or {}).get('seed') or 0)
        pruner = build_part(PRUNERS, context.settings.get('pruner'), 'pruning.pruner')
        if not isinstance(pruner, ExpanderPruner):
            raise ConfigError("pruning.pruner: draws no graphs; it must be dict(type='ExpanderPruner', …)")
        plan = pruner.plan(scope)
        found, text = plan.masks, f'{plan.note}\n\n'
    layers = analyse(scope, found, args.samples)
    if args.plot:
        plot_expanders(layers, osp.expanduser(args.plot))
    return text + _table_of_graphs(layers), {'layers': [asdict(layer) for layer in layers]}


def _table_of_graphs(layers: Sequence[LayerGraph]) -> str:
    """One line per layer, and the sums."""
    head = 'layer|in → out|edges|density|unread in|dead out|degrees in|degrees out|σ1|σ2|bound|expansion|MACs'
    rows = [tuple(head.split('|'))]
    for layer in layers:
        g = layer.graph
        sizes = (f'{g.inputs} → {g.outputs}', f'{g.edges}', f'{100 * layer.density:.2f} %')
        degrees = (f'{g.unread_inputs}', f'{g.dead_outputs}', _range(g.left_degrees), _range(g.right_degrees))
        spectrum = (f'{value:.2f}' for value in (g.sigma1, g.sigma2, g.ramanujan_bound, g.expansion))
        rows.append((layer.name, *sizes, *degrees, *spectrum, human(layer.macs)))
    edges, unread, dead = (
        str(sum(getattr(layer.graph, key) for layer in layers)) for key in ('edges', 'unread_inputs', 'dead_outputs')
    )
    macs, dense = sum(layer.macs for layer in layers), sum(layer.dense_macs for layer in layers)
    rows.append(('all', '', edges, '', unread, dead, *[''] * 6, f'{human(macs)} of {human(dense)}'))
    return table(rows)


def _range(degrees: tuple[int, int]) -> str:
    return f'{degrees[0]}–{degrees[1]}' if degrees[0] != degrees[1] else f'{degrees[0]}'


#: What ``tools/analyze.py`` can show.
LOOKS = {look.__name__: look for look in (groups, complexity, latency, moments, sensitivity, expander)}
