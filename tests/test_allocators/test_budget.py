"""Budget search: never above the target, the smallest such ratio, few evaluations, unreachable targets."""

import math

import pytest

from mmprune.allocators import search_ratio
from tests.test_allocators.layers import build, channel_layers

WIDTHS = (64, 64, 128, 256, 512)


def flops_share(allocator, min_channels=1):
    """Chain of convs: multiply-adds are the products of neighbouring widths."""

    def share(ratio):
        kept = [max(min_channels, k) for k in allocator.keep_counts(channel_layers(*WIDTHS), ratio)]
        return chain(kept) / chain(WIDTHS)

    return share


def chain(widths):
    return sum(a * b for a, b in zip((3, *widths), widths))


@pytest.mark.parametrize('target', [0.05, 0.25, 0.5, 0.7, 0.99, 1])
@pytest.mark.parametrize('name', ['Uniform', 'WidthDependent'])
def test_meets_the_target_from_below_at_the_smallest_ratio(name, target):
    kwargs = {'min_keep': 1} if name == 'WidthDependent' else {}
    evaluate = flops_share(build(name, target={'flops': target}, **kwargs))
    ratio = search_ratio(evaluate, target)
    assert evaluate(ratio) <= target
    if target < 1:
        assert target - evaluate(ratio) < 0.02  # one step of the widest layer
        assert evaluate(max(0.0, ratio - 2e-4)) > target
    else:
        assert ratio == 0


def test_finer_tolerance_finds_a_smaller_ratio():
    coarse, fine = (search_ratio(lambda r: 1 - r, 0.3, tol) for tol in (1e-2, 1e-9))
    assert 0.7 <= fine <= 0.7 + 1e-9
    assert fine <= coarse <= 0.7 + 1e-2


def test_a_plateau_that_meets_the_target_exactly():
    def steps(ratio):
        return 1 - math.floor(ratio * 10 + 1e-9) / 10

    ratio = search_ratio(steps, 0.7)
    assert 0.3 - 1e-9 <= ratio <= 0.3 + 1e-4


def test_a_small_rise_on_the_way_does_not_exceed_the_target():
    def wobbly(ratio):
        return 1 - ratio + 0.003 * math.sin(5000 * ratio)

    for target in (0.2, 0.5, 0.9):
        assert wobbly(search_ratio(wobbly, target)) <= target


def test_few_evaluations():
    seen = []
    search_ratio(lambda r: seen.append(r) or 1 - r, 0.5)
    assert len(seen) <= 25
    assert all(0 <= r < 1 for r in seen)


def test_unreachable_target_says_what_is_reachable_and_why():
    evaluate = flops_share(build('Uniform', target={'flops': 0.01}), min_channels=32)
    least = f'{evaluate(0.999999):.4g}'
    with pytest.raises(ValueError, match=rf'a share of 0\.01 cannot be reached.*{least} remains.*min_channels'):
        search_ratio(evaluate, 0.01)


@pytest.mark.parametrize('target', [0, -0.5, 1.2, float('nan')])
def test_target_out_of_range(target):
    with pytest.raises(ValueError, match=r'the share that may remain must be in \(0, 1\]'):
        search_ratio(lambda r: 1 - r, target)
