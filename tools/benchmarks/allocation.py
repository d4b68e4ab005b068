"""Time and memory of the rate-distortion allocation, beside the published recurrence written literally.

Allocates for the weights of ResNet-50 (54 layers, 101 options each) with every solver, and for those of the CIFAR
ResNet-32 also with the literal recurrence, which would need hours and 13 GB for ResNet-50::

    python tools/benchmarks/allocation.py --out work_dirs/benchmark_allocation.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmprune.allocators.knapsack import solve, total  # noqa: E402
from tests.oracles.knapsack import literal_dp  # noqa: E402


def resnet50_sizes() -> list[int]:
    """Weights of the 53 convs and the classifier of ResNet-50, in forward order."""
    sizes, inputs = [64 * 3 * 49], 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            sizes += [inputs * width, width * width * 9, width * width * 4]
            if not block:
                sizes.append(inputs * width * 4)
            inputs = width * 4
    return [*sizes, 2048 * 1000]


def resnet32_sizes() -> list[int]:
    """Weights of the convs and the classifier of the CIFAR ResNet-32 with 1×1 shortcuts, in forward order."""
    sizes, inputs = [3 * 16 * 9], 16
    for width in (16, 32, 64):
        for _ in range(5):
            sizes += [inputs * width * 9, width * width * 9]
            if inputs != width:
                sizes.append(inputs * width)
            inputs = width
    return [*sizes, 640]


def random_curves(sizes: list[int], grid: np.ndarray, seed: int) -> list[np.ndarray]:
    """Rising, roughly convex curves with noise, of very different height from layer to layer."""
    rng = np.random.default_rng(seed)
    curves = [rng.lognormal(sigma=2) * grid ** rng.uniform(1.5, 6) for _ in sizes]
    return [np.maximum.accumulate(c * (1 + 0.05 * rng.random(len(grid)))) for c in curves]


def measure(run: Callable[[], np.ndarray], repeats: int) -> tuple[np.ndarray, float, float]:
    """Result, median seconds of ``repeats`` runs, and peak MB of one more run (as tracked by tracemalloc)."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return result, float(np.median(seconds)), peak


def benchmark(name: str, sizes: list[int], methods: list[str], args: argparse.Namespace) -> list[dict]:
    """One row per method: what it took, and how good and how large its allocation is."""
    grid = np.arange(args.options) / (args.options - 1)
    curves = random_curves(sizes, grid, args.seed)
    costs = [np.floor(n * (1 - grid) + 1e-9) for n in sizes]
    budget = np.floor(args.budget * sum(sizes))
    rows = []
    for method in methods:
        if method == 'literal':
            options, seconds, peak = measure(lambda: literal_dp(sizes, grid, curves, budget), 1)
        else:
            options, seconds, peak = measure(lambda m=method: solve(costs, curves, budget, m), args.repeats)
        row = {'network': name, 'layers': len(sizes), 'weights': sum(sizes), 'options': args.options, 'method': method}
        row |= {'seconds': seconds, 'peak_mb': peak, 'distortion': total(curves, options)}
        rows.append(row | {'budget': budget, 'used': total(costs, options)})
        print(
            f'{name:<10}{method:<9}{seconds:>10.4f} s{peak:>10.1f} MB   distortion {rows[-1]["distortion"]:.6f}   '
            f'used {rows[-1]["used"] / budget:.6f} of the budget'
        )
    return rows


def main() -> None:
    """Run, print, and write JSON where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--budget', type=float, default=0.5, help='share of the weights that may survive')
    parser.add_argument('--options', type=int, default=101, help='options per layer')
    parser.add_argument('--repeats', type=int, default=5, help='timed runs of our solvers; the median counts')
    parser.add_argument('--seed', type=int, default=0, help='of the random curves')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    rows = benchmark('ResNet-50', resnet50_sizes(), ['dp', 'hull'], args)
    small = benchmark('ResNet-32', resnet32_sizes(), ['dp', 'hull', 'exact', 'literal'], args)
    by_method = {row['method']: row for row in small}
    ratios = {m: by_method['literal']['seconds'] / by_method[m]['seconds'] for m in ('dp', 'hull', 'exact')}
    for method, ratio in ratios.items():
        extra = by_method[method]['distortion'] / by_method['exact']['distortion'] - 1
        print(f'ResNet-32: {method} is {ratio:.1f} times as fast as the literal recurrence, distortion {extra:+.4%}')
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({'rows': rows + small, 'literal_over_ours': ratios}, indent=2) + '\n')


if __name__ == '__main__':
    main()
