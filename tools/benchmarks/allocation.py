"""Solvers of the rate-distortion allocation against the published recurrence written literally.

    python -m tools.benchmarks.allocation --out FILE

The weights of the CIFAR ResNet-32 with 1×1 shortcuts and of ResNet-50, for which the literal recurrence would need
hours and 13 GB; curves are random. The difference is how much more distortion the worst solver leaves than the best.
"""

from functools import partial

import numpy as np

from mmprune.allocators.knapsack import solve, total
from tests.oracles.knapsack import literal_dp
from tools.benchmarks.harness import Case, run


def resnet32_sizes() -> list[int]:
    """Weights of all convs and the classifier, in forward order."""
    sizes, inputs = [3 * 16 * 9], 16
    for width in (16, 32, 64):
        for _ in range(5):
            sizes += [inputs * width * 9, width * width * 9, *([inputs * width] if inputs != width else [])]
            inputs = width
    return [*sizes, 640]


def resnet50_sizes() -> list[int]:
    """Weights of all convs and the classifier, in forward order."""
    sizes, inputs = [64 * 3 * 49], 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            sizes += [inputs * width, width * width * 9, width * width * 4, *([] if block else [inputs * width * 4])]
            inputs = width * 4
    return [*sizes, 2048 * 1000]


def case(sizes: list[int], methods: tuple[str, ...], args: object) -> Case:
    """Rising, roughly convex curves with noise, of very different height from layer to layer."""
    rng, grid = np.random.default_rng(0), np.arange(args.points) / (args.points - 1)
    curves = [rng.lognormal(sigma=2) * grid ** rng.uniform(1.5, 6) for _ in sizes]
    curves = [np.maximum.accumulate(curve * (1 + 0.05 * rng.random(args.points))) for curve in curves]
    costs = [np.floor(size * (1 - grid) + 1e-9) for size in sizes]
    budget = np.floor(args.budget * sum(sizes))
    sides = {method: lambda m=method: partial(solve, costs, curves, budget, m) for method in methods}
    if 'literal' in methods:
        sides['literal'] = lambda: partial(literal_dp, sizes, grid, curves, budget)

    def difference(results: dict) -> float:
        left = [total(curves, result) for result in results.values()]
        return max(left) / min(left) - 1

    return Case(sides, difference, {'layers': len(sizes), 'weights': sum(sizes)})


CASES = {
    'ResNet-32': partial(case, resnet32_sizes(), ('literal', 'dp', 'hull', 'exact')),
    'ResNet-50': partial(case, resnet50_sizes(), ('dp', 'hull')),
}

if __name__ == '__main__':
    run(__doc__, CASES, {'points': (101, 11), 'budget': (0.5, 0.5)}, rounds=3, warmup=0, fresh=True)
