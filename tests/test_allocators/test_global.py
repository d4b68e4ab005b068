"""Global: one threshold, ties, costs per unit, and the cap per layer."""

import pytest
import torch

from mmprune.allocators import Layer
from tests.test_allocators.layers import build, scored, weight_layers


def test_removes_the_lowest_of_all():
    layers = scored([5.0, 1.0, 4.0], [2.0, 3.0], [9.0])
    assert build('Global', ratio=0.5).keep_counts(layers, 0.5) == [2, 0, 1]


def test_equals_a_plain_sort_on_many_weights():
    layers = weight_layers((16, 3, 3, 3), (32, 16, 3, 3), (10, 32))
    owner = torch.cat([torch.full((x.width,), i) for i, x in enumerate(layers)])
    order = torch.cat([x.scores for x in layers]).argsort()
    expected = [int((owner[order[round(0.7 * len(order)) :]] == i).sum()) for i in range(3)]
    assert build('Global', ratio=0.7).keep_counts(layers, 0.7) == expected


def test_ties_go_from_earlier_layers_first_and_the_count_is_exact():
    layers = scored([1.0, 1.0], [1.0, 1.0, 0.5], [1.0])
    assert build('Global', ratio=0.5).keep_counts(layers, 0.5) == [0, 2, 1]


def test_no_layer_loses_more_than_max_ratio():
    layers = scored([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0])
    assert build('Global', ratio=0.5).keep_counts(layers, 0.5) == [0, 4]
    assert build('Global', ratio=0.5, max_ratio=0.75).keep_counts(layers, 0.5) == [1, 3]
    assert build('Global', ratio=0.5, max_ratio=0.5).keep_counts(layers, 0.5) == [2, 2]


def test_a_target_search_stops_at_max_ratio():
    layers = scored([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0])
    assert build('Global', target={'flops': 0.5}, max_ratio=0.5).keep_counts(layers, 0.99) == [2, 2]


@pytest.mark.parametrize('cost', ['params', 'flops'])
def test_scores_per_cost_and_a_share_of_the_cost(cost):
    layers = scored([4.0, 5.0, 6.0], [1.0, 2.0], **{cost: [100.0, 10.0]})
    # Per cost the first layer is the cheaper loss (.04 … .06 against .1 and .2); of 320, half are 160: two units.
    assert build('Global', ratio=0.5, cost=cost).keep_counts(layers, 0.5) == [1, 2]
    assert build('Global', ratio=0.3, cost=cost).keep_counts(layers, 0.3) == [2, 2]


@pytest.mark.parametrize('cost', ['params', 'flops'])
@pytest.mark.parametrize('ratio', [0.1, 0.35, 0.8])
def test_what_remains_fits_the_budget_by_less_than_one_unit(cost, ratio):
    costs = [7.3, 1.1, 30.7]
    layers = scored(torch.rand(50), torch.rand(90), torch.rand(20), **{cost: costs})
    counts = build('Global', ratio=ratio, cost=cost).keep_counts(layers, ratio)
    budget = (1 - ratio) * sum(c * x.width for c, x in zip(costs, layers))
    remains = sum(c * k for c, k in zip(costs, counts))
    assert budget - max(costs) < remains <= budget * (1 + 1e-9)


def test_equal_costs_are_the_same_as_units():
    layers = weight_layers((8, 8, 3, 3), (16, 8, 3, 3), (10, 16))
    by_params = build('Global', ratio=0.6, cost='params').keep_counts(layers, 0.6)
    by_unit = build('Global', ratio=0.6).keep_counts(layers, 0.6)
    assert max(abs(a - b) for a, b in zip(by_params, by_unit)) <= 1


def test_signed_scores_are_welcome():
    assert build('Global', ratio=0.5).keep_counts(scored([-3.0, 2.0], [-1.0, 5.0]), 0.5) == [1, 1]


def test_masked_units_are_no_candidates():
    layers = [Layer('a', 4, (4,), scores=torch.tensor([0.0, 0.0, 3.0, 4.0]), alive=2)]
    assert build('Global', ratio=0.5).keep_counts(layers, 0.5) == [1]


def test_bad_input_names_the_key():
    with pytest.raises(ValueError, match=r"^cost.*'unit', 'params' or 'flops'.*'macs'"):
        build('Global', ratio=0.5, cost='macs')
    with pytest.raises(ValueError, match=r'^max_ratio.*0\.4'):
        build('Global', ratio=0.5, max_ratio=0.4)
    with pytest.raises(ValueError, match=r"^cost='flops'.*layer0 were not measured"):
        build('Global', ratio=0.5, cost='flops').keep_counts(scored([1.0, 2.0]), 0.5)
