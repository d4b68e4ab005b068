"""UniformPlus and ERK: the specification's worked examples and their limits."""

import math

import pytest

from mmprune.allocators import Layer
from tests.test_allocators.layers import build

SHAPES = [(64, 3, 3, 3), (128, 64, 3, 3), (10, 128)]


def layers_of(*shapes, alive=None):
    return [Layer(f'layer{i}', math.prod(s), s, alive=alive and alive[i]) for i, s in enumerate(shapes)]


def amounts(name, ratio, *shapes, alive=None, **kwargs):
    layers = layers_of(*shapes, alive=alive)
    counts = build(name, ratio=ratio, **kwargs).keep_counts(layers, ratio)
    return [1 - count / layer.alive for count, layer in zip(counts, layers)]


def test_uniform_plus_example_of_the_specification():
    assert amounts('UniformPlus', 0.9, *SHAPES) == pytest.approx([0, 0.92283, 0.8], abs=1e-5)


def test_uniform_plus_is_uniform_but_for_the_first_conv_while_the_last_keeps_enough():
    expected = round(0.5 * 76_736) / (73_728 + 1_280)
    assert amounts('UniformPlus', 0.5, *SHAPES) == pytest.approx([0, expected, expected], abs=1e-3)


def test_uniform_plus_prunes_a_first_linear_layer():
    assert amounts('UniformPlus', 0.5, (300, 784), (100, 300), (10, 100)) == pytest.approx([0.5] * 3, abs=1e-3)


def test_uniform_plus_counts_the_minimum_of_the_last_layer_from_its_original_size():
    alive = [1728, 40_000, 300]
    counts = build('UniformPlus', ratio=0.5).keep_counts(layers_of(*SHAPES, alive=alive), 0.5)
    assert counts[0] == 1728
    assert counts[2] == 256
    assert sum(counts) == pytest.approx(sum(alive) / 2, abs=2)


def test_uniform_plus_keeps_a_last_layer_that_is_already_below_its_minimum():
    counts = build('UniformPlus', ratio=0.2).keep_counts(layers_of(*SHAPES, alive=[1728, 40_000, 100]), 0.2)
    assert counts[2] == 100


def test_uniform_plus_asked_for_too_much():
    with pytest.raises(ValueError, match=r'^ratio: 0\.99 is too much for UniformPlus'):
        amounts('UniformPlus', 0.99, *SHAPES)
    searching = build('UniformPlus', target={'flops': 0.1})
    assert searching.keep_counts(layers_of(*SHAPES), 0.99) == [1728, 0, 256]
    with pytest.raises(ValueError, match='UniformPlus'):
        amounts('UniformPlus', 0.5, (64, 3, 3, 3))
    with pytest.raises(ValueError, match=r'^last_min_share'):
        build('UniformPlus', ratio=0.5, last_min_share=1.2)


def test_erk_example_of_the_specification():
    assert build('ERK', ratio=0.9).keep_counts(layers_of(*SHAPES), 0.9) == [1722, 4671, 1280]


def test_erk_density_follows_the_sum_of_the_dimensions():
    shapes = [(64, 32, 3, 3), (128, 64, 3, 3), (256, 128, 1, 1)]
    counts = build('ERK', ratio=0.95).keep_counts(layers_of(*shapes), 0.95)
    per_dimension = [count / sum(shape) for count, shape in zip(counts, shapes)]
    assert max(per_dimension) / min(per_dimension) == pytest.approx(1, abs=0.01)


def test_erk_fixes_one_dense_layer_after_the_other():
    counts = build('ERK', ratio=0.3).keep_counts(layers_of((8, 3, 1, 1), (16, 8, 1, 1), (64, 64, 3, 3), (10, 64)), 0.3)
    assert counts[:2] == [24, 128]
    assert sum(counts) == pytest.approx(0.7 * (24 + 128 + 36_864 + 640), abs=4)


def test_erk_for_channels_keeps_the_weights_densities():
    shapes = [(64, 32, 3, 3), (128, 64, 3, 3)]
    channels = [Layer(f'layer{i}', shape[0], shape) for i, shape in enumerate(shapes)]
    counts = build('ERK', ratio=0.8).keep_counts(channels, 0.8)
    densities = [count / shape[0] for count, shape in zip(counts, shapes)]
    ideal = [sum(shape) / math.prod(shape) for shape in shapes]
    assert densities[0] / densities[1] == pytest.approx(ideal[0] / ideal[1], rel=0.05)
    assert sum(counts) == pytest.approx(0.2 * 192, abs=1)
