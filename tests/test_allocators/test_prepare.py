"""Allocators that measure do so before they allocate; the others leave layers as they are."""

import pytest
import torch
from torch import nn

from mmprune.distortion import WeightCut
from mmprune.graph.scope import Scope
from tests.test_allocators.layers import build, scored

NET = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
SCORES = [NET[name].weight.detach().abs().flatten().double() for name in (0, 2)]


def prepare(allocator):
    layers = scored(*SCORES)
    cuts = [WeightCut(layer.name, NET[name], layer.scores) for layer, name in zip(layers, (0, 2))]
    return layers, *allocator.prepare(layers, cuts, Scope.of(NET, torch.zeros(1, 4)), None)


@pytest.mark.parametrize('name, options', [('Uniform', {}), ('Global', {}), ('RateDistortion', dict(curves='scores'))])
def test_most_allocators_measure_nothing(name, options):
    layers, prepared, note = prepare(build(name, ratio=0.5, **options))
    assert prepared == layers and note == ''


def test_curves_are_measured_and_the_note_says_on_what():
    layers, prepared, note = prepare(build('RateDistortion', ratio=0.5, curves=dict(num_images=8, cache=False)))
    assert [layer.name for layer in prepared] == [layer.name for layer in layers]
    assert all(layer.curve[0][0] == layer.width and layer.curve[1][-1] > 0 for layer in prepared)
    assert 'curves on 8' in note
