"""The knapsack solvers: the specification's table, brute force, order of the objectives, feasibility, bad input."""

import numpy as np
import pytest

from mmprune.allocators.knapsack import METHODS, solve, total
from tests.oracles.knapsack import brute_force, literal_dp

SPARSITY = np.array([0, 0.25, 0.5, 0.75, 1])
SIZES = [8, 12, 20]
CURVES = [[0, 0.1, 0.5, 1.5, 6], [0, 0.2, 0.3, 0.9, 2.5], [0, 0.05, 0.4, 2, 9]]


def random_instance(seed, layers=4, options=5, whole=True):
    """Arbitrary costs and distortions: not sorted, not monotone, not convex, layers of different lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, options + 1, layers)
    costs = [rng.integers(0, 30, k).astype(float) for k in lengths]
    if not whole:
        costs = [c + rng.random(len(c)) for c in costs]
    distortions = [rng.random(k) for k in lengths]
    least, most = sum(c.min() for c in costs), sum(c.max() for c in costs)
    return costs, distortions, float(np.floor(least + rng.random() * (most - least)) if whole else least + 1e-9)


def resnet32_instance(seed, sparsity):
    """Sizes of the CIFAR ResNet-32 with 1×1 shortcuts; 101 options and convex-ish curves with noise."""
    sizes = [432] + [2304] * 10 + [4608, 9216, 512] + [9216] * 8 + [18432, 36864, 2048] + [36864] * 8 + [640]
    rng, grid = np.random.default_rng(seed), np.arange(101) / 100
    curves = [rng.lognormal() * grid ** rng.uniform(1.5, 6) * (1 + 0.05 * rng.random(101)) for _ in sizes]
    curves = [np.maximum.accumulate(c) for c in curves]
    costs = [np.floor(n * (1 - grid) + 1e-9) for n in sizes]
    return sizes, grid, costs, curves, np.floor((1 - sparsity) * sum(sizes))


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
    'budget, optimum, sparsities, used',
    [
        (40, 0, (0, 0, 0), 40),
        (30, 0.35, (0, 0.5, 0.25), 29),
        (20, 1.2, (0.5, 0.5, 0.5), 20),
        (12, 3.4, (0.5, 0.75, 0.75), 12),
        (8, 6.0, (0.75, 1, 0.75), 7),
    ],
)
def test_table_of_the_specification(method, budget, optimum, sparsities, used):
    costs = [n * (1 - SPARSITY) for n in SIZES]
    options = solve(costs, CURVES, budget, method)
    assert tuple(SPARSITY[options]) == sparsities
    assert total(CURVES, options) == pytest.approx(optimum)
    assert total(costs, options) == used


@pytest.mark.parametrize('method', ['dp', 'exact'])
@pytest.mark.parametrize(
    'budget, optimum, sparsities, used',
    [
        (80, 0.4, (0.25, 0.5, 0), 80),
        (54, 1.2, (0.5, 0.5, 0.5), 54),
        (30, 4.4, None, None),  # (.75, .75, .75) with 27 and (.75, 1, .5) with 26 are equally good
    ],
)
def test_table_of_the_specification_with_multiply_adds(method, budget, optimum, sparsities, used):
    costs = [macs * (1 - SPARSITY) for macs in (64, 24, 20)]
    options = solve(costs, CURVES, budget, method)
    assert total(CURVES, options) == pytest.approx(optimum)
    assert total(costs, options) <= budget
    if sparsities:
        assert tuple(SPARSITY[options]) == sparsities
        assert total(costs, options) == used


@pytest.mark.parametrize('seed', range(60))
def test_exact_equals_brute_force(seed):
    costs, distortions, budget = random_instance(seed)
    optimum, _ = brute_force(costs, distortions, budget)
    options = solve(costs, distortions, budget, 'exact')
    assert total(distortions, options) == pytest.approx(optimum, abs=1e-12)
    assert total(costs, options) <= budget
    # Few states: the buckets of 'dp' are the whole numbers themselves.
    assert total(distortions, solve(costs, distortions, budget, 'dp')) == pytest.approx(optimum, abs=1e-12)


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('method', ['dp', 'hull'])
def test_always_feasible_even_if_barely(method, seed):
    for whole in (True, False):
        costs, distortions, budget = random_instance(seed, layers=12, options=9, whole=whole)
        for buckets in (1, 7, 1000):
            options = solve(costs, distortions, budget, method, buckets=buckets)
            assert total(costs, options) <= budget * (1 + 1e-12)


@pytest.mark.parametrize('sparsity', [0.5, 0.9, 0.97])
def test_hull_not_better_than_dp_not_better_than_exact(sparsity):
    _, _, costs, curves, budget = resnet32_instance(3, sparsity)
    hull, dp, exact = (total(curves, solve(costs, curves, budget, m)) for m in ('hull', 'dp', 'exact'))
    assert exact <= dp + 1e-12 <= hull + 2e-12
    assert hull < 1.02 * exact
    assert dp < 1.003 * exact


@pytest.mark.parametrize('seed', range(30))
def test_dp_is_never_worse_than_hull_even_with_few_buckets(seed):
    costs, distortions, _ = random_instance(seed, layers=10, options=12, whole=False)
    budget = sum(c.mean() for c in costs)
    dp, hull = (total(distortions, solve(costs, distortions, budget, m, buckets=9)) for m in ('dp', 'hull'))
    assert dp <= hull


def test_exact_equals_the_literal_recurrence():
    rng, grid = np.random.default_rng(0), np.arange(21) / 20
    sizes = [40, 100, 260, 80, 500]
    curves = [np.sort(rng.random(21)).astype(np.float32) for _ in sizes]
    costs = [np.floor(n * (1 - grid) + 1e-9) for n in sizes]
    for budget in (90, 333, 600):
        ours, literal = solve(costs, curves, budget, 'exact'), literal_dp(sizes, grid, curves, budget, chunk=64)
        assert total(curves, ours) == pytest.approx(total(curves, literal), abs=1e-6)
        assert total(costs, literal) <= budget


def test_convex_curves_are_solved_by_the_hull_alone():
    costs = [np.arange(50, -1, -1.0)] * 3
    curves = [a * np.arange(51.0) ** 2 for a in (1, 2, 5)]
    for budget in (20, 75, 110):
        hull, exact = (total(curves, solve(costs, curves, budget, m)) for m in ('hull', 'exact'))
        assert hull == pytest.approx(exact)


@pytest.mark.parametrize('method', METHODS)
def test_scaling_costs_or_distortions_changes_nothing(method):
    costs, distortions, budget = random_instance(5)
    options = solve(costs, distortions, budget, method)
    scaled = solve([c * 1024 for c in costs], [d * 8 for d in distortions], budget * 1024, method)
    assert options.tolist() == scaled.tolist()


@pytest.mark.parametrize('method', METHODS)
def test_unreachable_budget(method):
    with pytest.raises(ValueError, match='cost 5 together, more than the budget of 4'):
        solve([np.array([2.0, 9.0]), np.array([3.0])], [np.zeros(2), np.zeros(1)], 4, method)


@pytest.mark.parametrize('method', METHODS)
def test_budget_of_exactly_the_cheapest(method):
    assert solve([np.array([9.0, 2.0]), np.array([3.0])], [np.zeros(2), np.zeros(1)], 5, method).tolist() == [1, 0]


def test_bad_input():
    one = [np.array([1.0])]
    with pytest.raises(ValueError, match="solver must be one of dp, exact, hull, got 'greedy'"):
        solve(one, one, 1, 'greedy')
    with pytest.raises(ValueError, match='buckets'):
        solve(one, one, 1, buckets=0)
    with pytest.raises(ValueError, match='1 layers have costs, but 2'):
        solve(one, one * 2, 1)
    with pytest.raises(ValueError, match=r'layer 0: .*shape \(1,\)'):
        solve(one, [np.zeros(2)], 1)
    with pytest.raises(ValueError, match='layer 0: .*finite'):
        solve(one, [np.array([np.nan])], 1)
    with pytest.raises(ValueError, match="'exact' needs costs that are whole numbers"):
        solve([np.array([0.5, 0])], [np.zeros(2)], 1, 'exact')
    with pytest.raises(ValueError, match="use 'dp'"):
        solve([np.array([1.0, 2.0, 3e9])], [np.zeros(3)], 3e9, 'exact')
