"""The graphs of a checkpoint's masks, or those that a run of the config would draw."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from dataclasses import asdict

from mmprune.analysis.context import Context
from mmprune.errors import ConfigError
from mmprune.expanders.analysis import LayerGraph, analyse
from mmprune.pipeline import seed_everything
from mmprune.pruners import ExpanderPruner
from mmprune.registry import PRUNERS, build_part
from mmprune.report.plots import plot_expanders
from mmprune.report.tables import human, table
from mmprune.surgery.masking import masks, trained_masks

HEAD = (
    'layer',
    'in → out',
    'edges',
    'density',
    'unread in',
    'dead out',
    'degrees in',
    'degrees out',
    'σ1',
    'σ2',
    'bound',
    'expansion',
    'MACs',
)


def expander(context: Context) -> tuple[str, dict]:
    """See the module; returns a table to print, and the same as plain data."""
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
    return text + _table(layers), {'layers': [asdict(layer) for layer in layers]}


def _table(layers: Sequence[LayerGraph]) -> str:
    """One line per layer, and the sums."""
    rows = [HEAD]
    for layer in layers:
        g = layer.graph
        rows.append(
            (
                layer.name,
                f'{g.inputs} → {g.outputs}',
                f'{g.edges}',
                f'{100 * layer.density:.2f} %',
                f'{g.unread_inputs}',
                f'{g.dead_outputs}',
                _range(g.left_degrees),
                _range(g.right_degrees),
                f'{g.sigma1:.2f}',
                f'{g.sigma2:.2f}',
                f'{g.ramanujan_bound:.2f}',
                f'{g.expansion:.2f}',
                human(layer.macs),
            )
        )
    macs, dense = sum(layer.macs for layer in layers), sum(layer.dense_macs for layer in layers)
    rows.append(
        (
            'all',
            '',
            f'{sum(layer.graph.edges for layer in layers)}',
            '',
            f'{sum(layer.graph.unread_inputs for layer in layers)}',
            f'{sum(layer.graph.dead_outputs for layer in layers)}',
            '',
            '',
            '',
            '',
            '',
            '',
            f'{human(macs)} of {human(dense)}',
        )
    )
    return table(rows)


def _range(degrees: tuple[int, int]) -> str:
    return f'{degrees[0]}–{degrees[1]}' if degrees[0] != degrees[1] else f'{degrees[0]}'
