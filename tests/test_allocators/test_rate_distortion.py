"""RateDistortion: better than every baseline on the same curves, budgets held, grids, measured curves."""

import pytest
import torch

from mmprune.allocators import Layer
from tests.test_allocators.layers import build, scored

BASELINES = [
    ('Uniform', {}),
    ('Uniform', {'rounding': 'ceil'}),
    ('WidthDependent', {}),
    ('Global', {}),
    ('LAMP', {}),
    ('UniformPlus', {}),
    ('ERK', {}),
]


def random_layers(seed, *widths):
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for i, width in enumerate(widths):
        draws = torch.randn(3, width, generator=generator, dtype=torch.float64)
        scores = draws[0].abs() * 10 ** float(draws[1, 0])
        price = 1 + 99 * float(torch.rand(1, generator=generator))
        layers.append(Layer(f'layer{i}', width, (width, 16, 3, 3), scores, params=round(price), flops=price * 49.5))
    return layers


def distortion(layers, counts):
    return sum(float(x.scores.sort().values[: x.width - count].sum()) for x, count in zip(layers, counts))


def cost(layers, counts, constraint):
    return sum(count * (1 if constraint == 'units' else getattr(x, constraint)) for x, count in zip(layers, counts))


@pytest.mark.parametrize('name, kwargs', BASELINES)
@pytest.mark.parametrize('constraint', ['units', 'params', 'flops'])
@pytest.mark.parametrize('ratio', [0.3, 0.6])
def test_no_baseline_is_better_on_the_same_curves_and_budget(name, kwargs, constraint, ratio):
    layers = random_layers(1, 64, 64, 128, 256, 40, 512)
    baseline = build(name, ratio=ratio, **kwargs).keep_counts(layers, ratio)
    used = cost(layers, baseline, constraint)
    same_budget = 1 - used / cost(layers, [x.width for x in layers], constraint)
    ours = build('RateDistortion', ratio=same_budget, constraint=constraint, min_keep=0).keep_counts(
        layers, same_budget
    )
    assert cost(layers, ours, constraint) <= used * (1 + 1e-9)
    assert distortion(layers, ours) <= distortion(layers, baseline) + 1e-9


@pytest.mark.parametrize(
    'solver, constraint',
    [(s, c) for s in ('dp', 'exact', 'hull') for c in ('units', 'params', 'flops') if (s, c) != ('exact', 'flops')],
)
@pytest.mark.parametrize('ratio', [0.05, 0.5, 0.95])
def test_the_budget_holds_and_no_layer_vanishes(solver, constraint, ratio):
    layers = random_layers(2, 16, 300, 700, 33)
    counts = build('RateDistortion', ratio=ratio, constraint=constraint, solver=solver).keep_counts(layers, ratio)
    budget = (1 - ratio) * cost(layers, [x.width for x in layers], constraint)
    assert cost(layers, counts, constraint) <= budget * (1 + 1e-9)
    assert min(counts) >= 1


def test_solvers_agree_on_the_order_of_their_objectives():
    layers = random_layers(3, 100, 300, 700, 33)
    hull, dp, exact = (
        distortion(layers, build('RateDistortion', ratio=0.7, constraint='params', solver=s).keep_counts(layers, 0.7))
        for s in ('hull', 'dp', 'exact')
    )
    assert exact <= dp + 1e-9 <= hull + 2e-9


def test_min_keep():
    layers = scored([1.0] * 50, [1000.0] * 50)
    assert build('RateDistortion', ratio=0.5).keep_counts(layers, 0.5) == [1, 49]
    assert build('RateDistortion', ratio=0.5, min_keep=0).keep_counts(layers, 0.5) == [0, 50]
    assert build('RateDistortion', ratio=0.5, min_keep=20).keep_counts(layers, 0.5) == [20, 30]
    assert build('RateDistortion', ratio=0.5, min_keep=60).keep_counts(scored([1.0] * 50, [1.0] * 300), 0.5) == [
        50,
        125,
    ]


def test_a_ratio_that_min_keep_forbids():
    layers = scored([1.0] * 50, [1000.0] * 50)
    with pytest.raises(ValueError, match=r'^ratio: 0\.9 leaves a budget of 10 units.*min_keep=20.*40 remain'):
        build('RateDistortion', ratio=0.9, min_keep=20).keep_counts(layers, 0.9)
    assert build('RateDistortion', target={'params': 0.1}, min_keep=20).keep_counts(layers, 0.9) == [20, 20]


def kept_options(width, **kwargs):
    layer = Layer('conv', width, (width,), scores=torch.rand(width))
    return build('RateDistortion', ratio=0.5, **kwargs).curve(layer)[0].tolist()


def test_grid():
    assert kept_options(512) == list(range(512, 0, -1))
    assert len(kept_options(513)) == 101
    assert kept_options(1000) == [*range(1000, 0, -10), 1]
    assert kept_options(1000, min_keep=0) == list(range(1000, -1, -10))
    assert kept_options(1000, min_keep=985) == [1000, 990, 985]
    assert kept_options(8, options=4, min_keep=0) == [8, 6, 4, 2, 0]
    assert kept_options(1, min_keep=3) == [1]


def test_grid_is_relative_to_what_is_alive():
    layer = Layer('conv', 10_000, (10_000,), scores=torch.arange(10_000.0).clamp(min=9000) - 9000, alive=1000)
    kept, distortions = build('RateDistortion', ratio=0.5).curve(layer)
    assert kept.tolist() == [*range(1000, 0, -10), 1]
    assert distortions[0] == 0
    assert distortions[1] == sum(range(10))


def curve(kept, values):
    return torch.tensor(kept), torch.tensor(values, dtype=torch.float64)


def test_measured_curves_take_the_place_of_scores():
    first = Layer('a', 100, (100,), curve=curve([100, 50, 10], [0.0, 1.0, 50.0]))
    second = Layer('b', 100, (100,), curve=curve([10, 100, 50], [2.0, 0.0, 1.5]))
    assert build('RateDistortion', ratio=0.25).keep_counts([first, second], 0.25) == [100, 50][::-1]
    assert build('RateDistortion', ratio=0.4).keep_counts([first, second], 0.4) == [100, 10]
    assert build('RateDistortion', ratio=0.7).keep_counts([first, second], 0.7) == [50, 10]


def test_measured_curves_are_made_monotone_and_cut_to_what_is_alive():
    layer = Layer('a', 100, (100,), curve=curve([90, 80, 60, 40, 0], [0.5, 0.0, 3.0, 2.0, 9.0]), alive=80)
    kept, distortions = build('RateDistortion', ratio=0.5).curve(layer)
    assert kept.tolist() == [80, 60, 40]
    assert distortions.tolist() == [0, 3, 3]


@pytest.mark.parametrize(
    'kept, values, message',
    [
        ([10, 5], [0.0], '2 kept counts, but 1 distortions'),
        ([10, 5], [0.0, float('nan')], 'finite'),
        ([10, 5], [0.0, -1.0], '>= 0'),
        ([10, 50], [0.0, 1.0], 'from 0 to 10'),
        ([10, 2.5], [0.0, 1.0], 'whole numbers'),
    ],
)
def test_bad_curves_name_the_layer(kept, values, message):
    layer = Layer('stem.conv', 10, (10,), curve=curve(kept, values))
    with pytest.raises(ValueError, match=rf'curve of stem\.conv: .*{message}'):
        build('RateDistortion', ratio=0.5).keep_counts([layer], 0.5)


@pytest.mark.parametrize(
    'key, value', [('constraint', 'macs'), ('solver', 'greedy'), ('options', 0), ('min_keep', -1), ('buckets', 0)]
)
def test_bad_options_name_the_key(key, value):
    with pytest.raises(ValueError, match=rf'^{key}.*{value}'):
        build('RateDistortion', ratio=0.5, **{key: value})


def test_flops_that_were_not_measured():
    with pytest.raises(ValueError, match=r"^constraint='flops': the flops of layer0 were not measured"):
        build('RateDistortion', ratio=0.5, constraint='flops').keep_counts(scored([1.0, 2.0]), 0.5)
