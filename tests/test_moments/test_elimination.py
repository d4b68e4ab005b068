import pytest
import torch

from mmprune.moments.elimination import eliminate, elimination_scores
from tests.oracles import moments as oracle


def problem(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, dtype=torch.float64, generator=generator)
    return torch.randn(n, 5, 3, dtype=torch.float64, generator=generator), root @ root.T / n


@pytest.mark.parametrize('n', [1, 2, 12])
def test_order_and_costs_equal_explicit_inverses(n):
    weight, covariance = problem(n)
    order, costs = eliminate(weight, covariance, 1e-2)
    expected_order, expected_costs = oracle.eliminate(weight, covariance, 1e-2)
    assert order.tolist() == expected_order
    assert torch.allclose(costs, torch.tensor(expected_costs, dtype=torch.float64))


def test_blocks_do_not_change_the_result():
    weight, covariance = problem(150)
    order, costs = eliminate(weight, covariance, 1e-2)
    expected_order, expected_costs = oracle.eliminate(weight, covariance, 1e-2)
    assert order.tolist() == expected_order
    assert torch.allclose(costs, torch.tensor(expected_costs, dtype=torch.float64), rtol=1e-8)


def test_summed_costs_are_the_regression_error():
    weight, covariance = problem()
    order, costs = eliminate(weight, covariance, 1e-2)
    for gone in (1, 4, 9):
        keep = sorted(order[gone:].tolist())
        assert abs(costs[:gone].sum() - oracle.regression_error(weight, covariance, keep, 1e-2)) < 1e-9


def test_a_duplicated_unit_goes_first_and_costs_nothing():
    weight, covariance = problem()
    index = torch.tensor([*range(12), 3])
    order, costs = eliminate(weight[index], covariance[index][:, index], 1e-9)
    assert int(order[0]) in (3, 12)
    assert costs[0] < 1e-6 * costs[1]


def test_scores_sort_by_elimination():
    order, costs = torch.tensor([2, 0, 3, 1]), torch.tensor([0.0, 5.0, 1.0, 5.0]).double()
    scores = elimination_scores(order, costs)
    assert scores.argsort().tolist() == order.tolist()
    assert torch.allclose(scores[order], torch.tensor([0.0, 5.0, 5.0, 5.0]).double())


def test_many_units_are_a_permutation():
    weight, covariance = problem(700)
    order, _ = eliminate(weight, covariance)
    assert sorted(order.tolist()) == list(range(700))
