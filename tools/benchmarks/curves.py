"""Time the measurement of rate-distortion curves against the literal loop, and compare the curves.

    python tools/benchmarks/curves.py --out docs/curves_cost.json

RD_PRUNE's ResNet-32 with random weights and N(0, 1) images; each layer's curve both ways in turn, so that whatever
else the machine does slows both. The literal loop prunes a copy for every point and runs all images through the whole
network in one batch; it has a process of its own, so that nothing that ours sets (where freed memory goes) helps it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from mmprune.distortion import CurveMeasurer  # noqa: E402
from mmprune.graph.scope import Scope  # noqa: E402
from mmprune.images import as_source  # noqa: E402
from mmprune.pruners.weight import weight_cut  # noqa: E402
from mmprune.registry import MODELS  # noqa: E402
from mmprune.storage.files import write_atomically  # noqa: E402
from tests.oracles.rate_distortion import literal_curve  # noqa: E402


def network() -> torch.nn.Module:
    """The same in every process."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    return MODELS.build(Config.fromfile(ROOT / 'configs/_base_/models/resnet32_rd_cifar.py').model).eval()


def inputs(count: int) -> torch.Tensor:
    """Images of shape (count, 3, 32, 32), the same in every process."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def timed(work: Callable[[], object]) -> tuple[object, float, float]:
    """What the work returns, seconds on the wall, seconds of CPU."""
    start, clock = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - start, time.process_time() - clock


def literal(name: str, kept: torch.Tensor, count: int) -> tuple[object, float, float]:
    """The literal loop on one layer."""
    model, images = network(), inputs(count)
    return timed(lambda: literal_curve(model, lambda net, batch: net(batch, mode='tensor'), name, kept, [images]))


def main() -> None:
    """Run both and print the ratio of their times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=256)
    parser.add_argument('--points', type=int, default=100, help='intervals of the grid')
    parser.add_argument('--every', type=int, default=4, help='measure every n-th layer')
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    model, images = network(), inputs(args.images)
    scope = Scope.of(model, torch.zeros(1, 3, 32, 32))
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    measurer = CurveMeasurer(num_images=args.images, points=args.points, batch_size=args.batch, cache=False)
    rows = []
    with multiprocessing.get_context('spawn').Pool(1) as other:
        other.apply(literal, ('head.fc', torch.tensor([0]), args.images))  # imports take time, too
        for name in list(layers)[args.every // 2 :: args.every]:
            cuts = [weight_cut(name, layers[name])]
            ours, seconds, cpu = timed(partial(measurer.measure, cuts, scope, as_source(images)))
            kept, curve = ours[name]
            expected, literal_s, literal_cpu = other.apply(literal, (name, kept, args.images))
            error = float(((curve - expected).abs() / expected.max().clamp_min(1e-30)).max())
            rows.append(
                dict(
                    layer=name,
                    seconds=seconds,
                    literal_seconds=literal_s,
                    cpu_s=cpu,
                    literal_cpu_s=literal_cpu,
                    relative_difference=error,
                )
            )
            print(f'{name:28s} {seconds:7.2f} s, literal {literal_s:7.2f} s, difference {error:.1e}', flush=True)
    total = {key: sum(row[key] for row in rows) for key in ('seconds', 'literal_seconds', 'cpu_s', 'literal_cpu_s')}
    result = dict(
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        images=args.images,
        points=args.points,
        batch=args.batch,
        **total,
        ratio=total['literal_seconds'] / total['seconds'],
        cpu_ratio=total['literal_cpu_s'] / total['cpu_s'],
        relative_difference=max(row['relative_difference'] for row in rows),
        layers=rows,
    )
    print(
        f'{result["ratio"]:.2f} times as fast as the literal loop ({result["cpu_ratio"]:.2f} in CPU time), '
        f'largest difference {result["relative_difference"]:.1e}'
    )
    if args.out:
        write_atomically(args.out, json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
