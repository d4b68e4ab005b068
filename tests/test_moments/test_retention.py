"""Costs that add up over layers."""

import torch

from mmprune.moments import retention_costs


def test_small_errors_cost_what_they_are():
    errors = torch.tensor([1e-6, 2e-6, 5e-6], dtype=torch.float64)
    assert torch.allclose(retention_costs(errors), errors, rtol=1e-4)


def test_sum_of_costs_is_the_log_of_the_product_of_retained_shares():
    a, b = torch.tensor([0.05, 0.1], dtype=torch.float64), torch.tensor([0.1, 0.3], dtype=torch.float64)
    retained = (1 - a.sum()) * (1 - b.sum())
    assert torch.isclose(retention_costs(a).sum() + retention_costs(b).sum(), -retained.log())


def test_ruin_is_dear_but_finite_and_costs_never_fall():
    costs = retention_costs(torch.full((40,), 0.2, dtype=torch.float64))
    assert torch.isfinite(costs).all()
    assert (costs.diff() >= 0).all()
    assert costs.max() > 5
