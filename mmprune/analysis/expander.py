"""The graphs of a checkpoint's masks, or those that a run of the config would draw."""

from __future__ import annotations

import os.path as osp

from mmprune.analysis.context import Context
from mmprune.errors import ConfigError
from mmprune.expanders.analysis import analyse, analysis_dict, analysis_table
from mmprune.pipeline import seed_everything
from mmprune.pruners import ExpanderPruner
from mmprune.registry import PRUNERS, build_part
from mmprune.report.plot_expanders import plot_expanders
from mmprune.surgery.masking import masks, trained_masks


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
    return text + analysis_table(layers), analysis_dict(layers)
