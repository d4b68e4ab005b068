import numpy as np
import pytest

from mmprune.criteria.redundancy import search_threshold


def test_finds_the_largest_share_that_meets_the_target():
    threshold = search_threshold(lambda t: min(1.0, round(t, 2)), 0.437)
    assert min(1.0, round(threshold, 2)) == pytest.approx(0.43)


def test_a_share_that_is_met_exactly_counts():
    assert search_threshold(lambda t: 0.7 if t < 0.9 else 1.0, 0.7) < 0.9


def test_survives_a_share_that_is_not_monotone():
    def remaining(t):
        return float(np.clip(t + 0.02 * np.sin(400 * t), 0.05, 1))

    threshold = search_threshold(remaining, 0.5)
    assert 0.49 < remaining(threshold) <= 0.5


def test_nothing_to_remove_keeps_everything():
    assert search_threshold(lambda t: 1.0 if t > 1 else 0.3, 1.0) > 1


def test_an_unreachable_target_says_what_remains_at_least():
    with pytest.raises(ValueError, match='at least 0.4 remains'):
        search_threshold(lambda t: max(0.4, t), 0.3)
