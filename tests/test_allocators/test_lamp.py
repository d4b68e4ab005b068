"""LAMP: the specification's scores, and that no layer is emptied."""

import numpy as np
import pytest

from mmprune.allocators.lamp import lamp_scores
from tests.test_allocators.layers import build, scored, weight_layers


def test_scores_of_the_specification():
    assert lamp_scores(np.array([1.0, 2.0, 3.0])).tolist() == pytest.approx([1 / 14, 4 / 13, 1])
    assert lamp_scores(np.array([0.5, 4.0])).tolist() == pytest.approx([0.0153846, 1], abs=1e-7)


def test_counts_of_the_specification():
    layers = scored([3.0, 1.0, 2.0], [0.5, 4.0])
    counts = [build('LAMP', ratio=r).keep_counts(layers, r) for r in (0.2, 0.4, 0.6)]
    assert counts == [[3, 1], [2, 1], [1, 1]]


def test_scale_of_a_layer_does_not_matter():
    first, second = weight_layers((8, 4, 3, 3), (10, 8))
    scaled = scored(first.scores * 1000, second.scores / 1000)
    assert build('LAMP', ratio=0.8).keep_counts(scaled, 0.8) == build('LAMP', ratio=0.8).keep_counts(
        [first, second], 0.8
    )


@pytest.mark.parametrize('ratio', [0.9, 0.99, 0.9999])
def test_every_layer_keeps_its_largest(ratio):
    layers = weight_layers((4, 3, 3, 3), (64, 64, 3, 3), (10, 8))
    assert min(build('LAMP', ratio=ratio).keep_counts(layers, ratio)) >= 1


def test_zeros_and_equal_magnitudes():
    assert lamp_scores(np.zeros(3)).tolist() == [0, 0, 0]
    assert build('LAMP', ratio=0.5).keep_counts(scored([0.0, 0.0, 1.0, 1.0]), 0.5) == [2]
    scores = lamp_scores(np.full(1000, 0.1, dtype=np.float32))
    assert (np.diff(scores) >= 0).all()
    assert scores[-1] == 1
