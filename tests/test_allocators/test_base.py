"""What all allocators have in common: ratios, targets, and that nobody keeps more than there is."""

import pytest
import torch

from mmprune.allocators import Layer
from tests.test_allocators.layers import build, weight_layers

ALL = ['Uniform', 'WidthDependent', 'Global', 'LAMP', 'UniformPlus', 'ERK', 'RateDistortion']


def layers_for_all():
    return weight_layers((16, 3, 3, 3), (32, 16, 3, 3), (32, 32, 1, 1), (10, 32))


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('ratio', [-0.1, 1, 1.0, 1.5, float('nan'), '0.5', True, [0.5]])
def test_ratio_outside_the_range(name, ratio):
    with pytest.raises(ValueError, match=r'^ratio: .*\[0, 1\)'):
        build(name, ratio=ratio)
    with pytest.raises(ValueError, match=r'^ratio: .*\[0, 1\)'):
        build(name, ratio=0.5).keep_counts(layers_for_all(), ratio)


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        ({'flops': 0}, r'^target\.flops: a number in \(0, 1\]'),
        ({'flops': 1.1}, r'^target\.flops: a number in \(0, 1\]'),
        ({'flops': '0.5'}, r'^target\.flops: a number in \(0, 1\]'),
        ({}, '^target: give one quantity'),
        (0.5, '^target: one quantity'),
        ({'flops': 0.5, 'params': 0.5}, '^target: give one quantity'),
        ({'flop': 0.5}, r"^target\.flop: unknown, did you mean 'flops'\? known keys: flops, latency, params"),
        ({'ratio': 0.5}, r'^target\.ratio: unknown'),
        ({'flops': 0.5, 'threads': 1}, r'^target\.threads: says how latency is measured, and the target is flops'),
        ({'latency': 0.5, 'threads': 0}, r'^target\.threads: a whole number of at least 1'),
    ],
)
def test_a_wrong_target_is_named(target, message):
    with pytest.raises(ValueError, match=message):
        build('Uniform', target=target)


@pytest.mark.parametrize('kwargs', [{}, {'ratio': 0.5, 'target': {'flops': 0.5}}])
def test_ratio_or_target_but_not_both(kwargs):
    with pytest.raises(ValueError, match='either `ratio`.*or `target`'):
        build('Global', **kwargs)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('ratio', [0, 0.1, 0.5, 0.77, 0.9])
def test_counts_are_whole_and_within_the_layer(name, ratio):
    layers = layers_for_all()
    counts = build(name, ratio=ratio).keep_counts(layers, ratio)
    assert all(type(count) is int and 0 <= count <= layer.width for count, layer in zip(counts, layers))
    if ratio == 0:
        assert counts == [layer.width for layer in layers]


@pytest.mark.parametrize('name', ALL)
def test_more_ratio_never_keeps_more(name):
    kept = [sum(build(name, ratio=r / 40).keep_counts(layers_for_all(), r / 40)) for r in range(37)]
    assert kept == sorted(kept, reverse=True)


@pytest.mark.parametrize('name', ['Global', 'LAMP', 'UniformPlus', 'ERK', 'RateDistortion', 'Uniform'])
@pytest.mark.parametrize('ratio', [0.2, 0.5, 0.8])
def test_the_share_of_all_weights_is_met(name, ratio):
    layers = layers_for_all()
    kept = sum(build(name, ratio=ratio).keep_counts(layers, ratio))
    assert kept == pytest.approx((1 - ratio) * sum(layer.width for layer in layers), abs=len(layers))


@pytest.mark.parametrize('name', ALL)
def test_ratio_counts_what_is_alive(name):
    """A layer of which half is masked already loses the share of the rest only."""
    layers = [
        Layer(
            x.name,
            x.width,
            x.shape,
            scores=x.scores * (x.scores > x.scores.median()),
            alive=int((x.scores > x.scores.median()).sum()),
        )
        for x in layers_for_all()
    ]
    counts = build(name, ratio=0.2).keep_counts(layers, 0.2)
    assert all(count <= layer.alive for count, layer in zip(counts, layers))
    if name != 'WidthDependent':
        step = max(layer.alive for layer in layers) / 100 if name == 'RateDistortion' else len(layers)
        assert sum(counts) == pytest.approx(0.8 * sum(layer.alive for layer in layers), abs=step)


@pytest.mark.parametrize('name', ['Global', 'LAMP', 'RateDistortion'])
def test_bad_scores_name_the_criterion(name):
    def allocate(scores):
        return build(name, ratio=0.5).keep_counts([Layer('stem.conv', 3, (3,), scores=scores)], 0.5)

    with pytest.raises(ValueError, match=rf'{name} compares scores, but stem\.conv has none'):
        allocate(None)
    for bad in (float('nan'), float('inf'), -float('inf')):
        with pytest.raises(ValueError, match=r'^criterion: the scores of stem\.conv contain NaN or Inf'):
            allocate(torch.tensor([1.0, bad, 2.0]))
    with pytest.raises(ValueError, match=r'^criterion: gave 2 scores for the 3 units of stem\.conv'):
        allocate(torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize('name, kwargs', [('LAMP', {}), ('RateDistortion', {}), ('Global', {'cost': 'params'})])
def test_negative_scores_are_refused_where_they_make_no_sense(name, kwargs):
    with pytest.raises(ValueError, match=rf'^criterion: conv has negative scores.*{name}'):
        build(name, ratio=0.5, **kwargs).keep_counts([Layer('conv', 2, (2,), scores=torch.tensor([-1.0, 1.0]))], 0.5)
