"""Time and peak memory of pruning Faster R-CNN R50-FPN's backbone, beside Torch-Pruning's own pruner on the same one.

    python tools/benchmarks/pruning.py [--size 224] [--repeat 3] [--out benchmark.json]

Every measurement is a process of its own, so that peak memory is that of the job. Timed is everything that
``mmprune.prune`` does apart from counting FLOPs for the report: trace, verify, score, slice, verify again.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import subprocess
import sys
import time
import warnings

CONFIG = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
RATIO = 0.3
JOBS = ('build', 'mmprune', 'torch_pruning')
#: Targets on two idle cores: seconds, and peak memory as a multiple of what building the model takes.
TARGET_S, TARGET_MEMORY = 2.0, 2.0


def build() -> object:
    """The detector as mmdet's config describes it, without weights."""
    from mmdet.registry import MODELS
    from mmengine.hub import get_config
    from mmengine.registry import DefaultScope

    config = get_config(CONFIG)
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config.model)


def prune_with_mmprune(model: object, example: object) -> dict[str, float]:
    """Seconds per part."""
    from mmprune.graph.scope import Scope
    from mmprune.pruners import ChannelPruner

    start = time.perf_counter()
    pruner = ChannelPruner('L2Norm', dict(type='Uniform', ratio=RATIO))
    plan = pruner.plan(Scope.of(model, example, 'backbone'))
    planned = time.perf_counter()
    plan.apply()
    return {'plan_s': planned - start, 'slice_s': time.perf_counter() - planned}


def prune_with_torch_pruning(model: object, example: object) -> dict[str, float]:
    """Seconds per part; it sees only what is not frozen, and cuts the interface too."""
    import torch_pruning

    start = time.perf_counter()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model.backbone, example, torch_pruning.importance.MagnitudeImportance(p=2), pruning_ratio=RATIO
    )
    traced = time.perf_counter()
    pruner.step()
    return {'trace_s': traced - start, 'step_s': time.perf_counter() - traced}


def measure(job: str, size: int) -> dict[str, float]:
    """Run one job in this process: wall and CPU seconds, and memory in MiB over that of the imports."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    import torch
    import torch_pruning  # noqa: F401
    from mmdet.utils import register_all_modules

    import mmprune  # noqa: F401
    import mmprune.pruners  # noqa: F401

    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    imported = peak_mib()
    model = build()
    built = peak_mib()
    wall, cpu = time.perf_counter(), time.process_time()
    parts = {}
    if job != 'build':
        example = torch.randn(1, 3, size, size)
        parts = (prune_with_mmprune if job == 'mmprune' else prune_with_torch_pruning)(model, example)
    return {
        'wall_s': time.perf_counter() - wall,
        'cpu_s': time.process_time() - cpu,
        'import_mib': imported,
        'build_mib': built - imported,
        'peak_mib': peak_mib() - imported,
        **parts,
    }


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure every job in fresh processes, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, default=224, help='side of the square example image')
    parser.add_argument('--repeat', type=int, default=3, help='processes per job; the best counts')
    parser.add_argument('--out', help='JSON file to write')
    parser.add_argument('--job', choices=JOBS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(measure(args.job, args.size)))
        return
    best: dict[str, dict[str, float]] = {}
    for _ in range(args.repeat):
        for job in JOBS:  # in turn, so that a busy moment hits all alike
            done = subprocess.run(
                [sys.executable, __file__, '--job', job, '--size', str(args.size)], capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(done.stderr)
            result = json.loads(done.stdout.splitlines()[-1])
            best[job] = min(best.get(job, result), result, key=lambda r: r['cpu_s'])
    ours, theirs = best['mmprune'], best['torch_pruning']
    memory = ours['peak_mib'] / best['build']['peak_mib']
    print(f'{"":15} {"wall s":>8} {"CPU s":>8} {"MiB over imports":>18}')
    for job in JOBS:
        print(f'{job:15} {best[job]["wall_s"]:8.2f} {best[job]["cpu_s"]:8.2f} {best[job]["peak_mib"]:18.0f}')
    print(
        f'mmprune / torch_pruning: {ours["wall_s"] / theirs["wall_s"]:.1f} × wall, '
        f'{ours["cpu_s"] / theirs["cpu_s"]:.1f} × CPU; peak memory {memory:.2f} × that of building '
        f'(targets: {TARGET_S:g} s, {TARGET_MEMORY:g} ×)'
    )
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(
                {
                    'config': CONFIG,
                    'size': args.size,
                    'ratio': RATIO,
                    **best,
                    'wall_ratio': ours['wall_s'] / theirs['wall_s'],
                    'memory_ratio': memory,
                },
                file,
                indent=1,
            )


if __name__ == '__main__':
    main()
