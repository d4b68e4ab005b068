"""Look at a network: `analyze.py groups|complexity|latency|moments|expander CONFIG [CHECKPOINT]`."""

import argparse
import copy
import json
import os.path as osp
from dataclasses import asdict

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from torch import nn

import mmprune
from mmprune.engine import make_loadable_config
from mmprune.engine.cli import add_common_arguments, apply_common_arguments, clear_errors
from mmprune.engine.images import LOADERS, LoaderImages
from mmprune.equivalence import refuse_wrong_groups
from mmprune.evaluation.complexity import measure, module_flops
from mmprune.evaluation.latency import measure_latency, ratio
from mmprune.evaluation.report import human, table
from mmprune.expanders.analysis import analyse, analysis_dict, analysis_table
from mmprune.files import write_atomically
from mmprune.graph import find_groups
from mmprune.hosts import Scope
from mmprune.masking import masks, trained_masks
from mmprune.moments import check_moments
from mmprune.pipeline import seed_everything
from mmprune.pruners import ExpanderPruner
from mmprune.registry import MODELS, PRUNERS, ConfigError, build_part
from mmprune.tracing import tracing_mode
from mmprune.visualization import plot_expanders


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=['groups', 'complexity', 'latency', 'moments', 'expander'])
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint, e.g. of the pruned network')
    parser.add_argument('--shape', nargs='+', type=int, help='input: H W, C H W or N C H W')
    parser.add_argument('--runs', type=int, default=30, help='latency: counted runs of each network')
    parser.add_argument('--threads', type=int, help='latency: threads that torch may use')
    parser.add_argument('--images', choices=LOADERS, help='moments: also compare with activations on these images')
    parser.add_argument('--num-images', type=int, default=1000, help='moments: how many images')
    parser.add_argument('--samples', type=int, default=1000, help='expander: vertex sets per estimate')
    parser.add_argument('--plot', help='expander: also draw the graphs into this PNG')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', help='also write the result to this JSON file')
    add_common_arguments(parser, DictAction)
    return parser.parse_args()


def input_shape(cfg: Config, shape: list[int] | None) -> tuple[int, ...]:
    default = tuple((cfg.get('pruning') or {}).get('input_shape', (3, 224, 224)))
    shape = tuple(shape or default)
    return (1, *default[:1], *shape) if len(shape) == 2 else (1, *shape) if len(shape) == 3 else shape


def groups(model: nn.Module, scope: Scope, settings: dict) -> dict:
    """Every channel group, its members, and why it would stay whole."""
    found = find_groups(model, scope.forward, scope.example, scope.targets,
                        settings.get('pruner', {}).get('prune_interface', False))
    refuse_wrong_groups(model, scope.forward, scope.probe_input(), found)
    rows = [('group', 'width', 'members', 'repairable', 'remark')]
    for g in found:
        problem = '' if not g.site else g.site.problem
        rows.append((g.name, str(g.width), ', '.join(m.name for m in g.members()[1:5]) +
                     (' …' if len(g.members()) > 5 else ''), 'yes' if g.prunable and not problem else 'no',
                     g.reason or problem))
    print(table(rows))
    return {'groups': [{'name': g.name, 'width': g.width, 'members': [m.name for m in g.members()],
                        'reason': g.reason, 'problem': g.site.problem if g.site else ''} for g in found]}


def complexity(model: nn.Module, scope: Scope, settings: dict) -> dict:
    """Parameters and multiply-adds, in all and per module that has weights of its own."""
    flops, counts = module_flops(scope), measure(scope)
    rows = [('module', 'params', 'FLOPs')]
    layers = []
    for name, module in model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own:
            rows.append((name, human(own), human(flops.get(name, 0))))
            layers.append({'name': name, 'params': own, 'flops': flops.get(name, 0)})
    rows.append(('total', human(counts.params), human(counts.flops)))
    print(table(rows))
    return {**asdict(counts), 'layers': layers}


def latency(dense: nn.Module, model: nn.Module, scope: Scope, args: argparse.Namespace) -> dict:
    """Dense against pruned, alternating in one process."""
    if args.threads:
        torch.set_num_threads(args.threads)
    example = scope.probe_input()
    dense_scope = Scope(dense, scope.example, scope.targets)
    calls = {'dense': lambda: dense_scope.forward(example)}
    if args.checkpoint:
        calls['pruned'] = lambda: scope.forward(example)
    with tracing_mode(dense), tracing_mode(model):
        found = measure_latency(calls, args.runs)
    counts = {'dense': measure(dense_scope).flops, 'pruned': measure(scope).flops}
    rows = [('network', 'FLOPs', 'p5 ms', 'p50 ms', 'p95 ms')]
    rows += [(name, human(counts[name]), f'{v.p5_ms:.1f}', f'{v.p50_ms:.1f}', f'{v.p95_ms:.1f}')
             for name, v in found.items()]
    shape = '×'.join(map(str, scope.example.shape))
    print(table(rows) + f'\ninput {shape}, {args.device}, {torch.get_num_threads()} threads, {args.runs} runs each')
    result = {'latency': {name: asdict(v) for name, v in found.items()}, 'flops': counts,
              'input_shape': list(scope.example.shape), 'threads': torch.get_num_threads(), 'device': args.device}
    if 'pruned' in found:
        result['speedup'] = round(ratio(found, 'dense', 'pruned'), 3)
        result['flops_ratio'] = round(counts['dense'] / counts['pruned'], 3)
        print(f'{result["speedup"]:.2f}× faster with {result["flops_ratio"]:.2f}× fewer FLOPs')
    return result


def moments(scope: Scope, cfg: Config, args: argparse.Namespace) -> dict:
    """How well MomentRestoration's model knows this network: running variances, activations if there are images."""
    images = LoaderImages(cfg, scope.model, args.images, args.num_images) if args.images else None
    found = find_groups(scope.model, scope.forward, scope.example, scope.targets)
    with tracing_mode(scope.model), torch.no_grad():
        checks = check_moments([g.site for g in found if g.site], scope.forward, images)

    def cell(value: float | None) -> str:
        return '' if value is None else f'{value:.3f}'

    head = ('group', 'rho', 'running variances (r)', 'means (rms, σ)', 'deviations (rel.)', 'correlations (r)',
            'remark')
    rows = [head, *((c.name, cell(c.rho), cell(c.variance_correlation), cell(c.mean_error), cell(c.std_error),
                     cell(c.covariance_correlation), c.problem) for c in checks)]
    known = [c.variance_correlation for c in checks if c.variance_correlation is not None]
    print(table(rows))
    if known:
        print(f'predicted against stored log running variance: r = {sum(known) / len(known):.3f} on average '
              f'over {len(known)} of {len(checks)} groups')
    return {'moments': [asdict(c) for c in checks]}


def expander(scope: Scope, cfg: Config, args: argparse.Namespace) -> dict:
    """The graphs of a checkpoint's masks, or those that a run of the config would draw."""
    if args.samples < 1:
        raise ConfigError(f'--samples: at least 1, got {args.samples}')
    found = masks(scope.model) or trained_masks(scope.model)
    if args.checkpoint and not found:
        raise ConfigError(f'{args.checkpoint}: holds no masks')
    if not found:
        seed_everything((cfg.get('randomness') or {}).get('seed') or 0)
        pruner = build_part(PRUNERS, (cfg.get('pruning') or {}).get('pruner'), 'pruning.pruner')
        if not isinstance(pruner, ExpanderPruner):
            raise ConfigError("pruning.pruner: draws no graphs; it must be dict(type='ExpanderPruner', …)")
        plan = pruner.plan(scope)
        found = plan.masks
        print(f'{plan.note}\n')
    layers = analyse(scope, found, args.samples)
    print(analysis_table(layers))
    if args.plot:
        plot_expanders(layers, osp.expanduser(args.plot))
    return analysis_dict(layers)


@clear_errors
def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    apply_common_arguments(cfg, args)
    make_loadable_config(cfg)
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    dense = MODELS.build(cfg.model).to(args.device)
    model = copy.deepcopy(dense)
    if args.checkpoint:
        mmprune.load(model, args.checkpoint)
    settings = cfg.get('pruning') or {}
    example = torch.zeros(input_shape(cfg, args.shape), device=args.device)
    scope = Scope.of(model, example, settings.get('target', 'backbone'))
    if args.what == 'latency':
        result = latency(dense, model, scope, args)
    elif args.what == 'moments':
        result = moments(scope, cfg, args)
    elif args.what == 'expander':
        result = expander(scope, cfg, args)
    else:
        result = {'groups': groups, 'complexity': complexity}[args.what](model, scope, settings)
    if args.out:
        write_atomically(osp.expanduser(args.out), json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
