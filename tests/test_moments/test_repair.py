import torch
from torch import nn

from mmprune.moments import correct_norm, masked_statistics
from mmprune.moments.correlation import tap_correlation
from mmprune.moments.repair import mixed_weight, output_mean, output_variance, reconstruction
from tests.oracles import moments as oracle


def random_moments(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, n, dtype=torch.float64, generator=generator)
    return torch.rand(n, dtype=torch.float64, generator=generator), root @ root.T / n


def test_output_variance_equals_loops_and_sampling():
    _, covariance = random_moments(3)
    weight, taps = torch.randn(3, 2, 4, dtype=torch.float64), tap_correlation((2, 2), 0.5)
    value = output_variance(weight, covariance, taps)
    assert torch.allclose(value, oracle.output_variance(weight, covariance, taps))
    x = oracle.gaussian_samples(torch.kron(covariance, taps), 200_000)
    sampled = (x @ weight.transpose(1, 2).reshape(12, 2)).var(dim=0)
    assert torch.all((value / sampled - 1).abs() < 5 * (2 / 200_000) ** 0.5)


def test_regression_equals_that_of_samples():
    mean, covariance = random_moments(6)
    keep = torch.tensor([0, 2, 3, 5])
    mix, constant = reconstruction(mean, covariance, keep, 1e-9)
    x = oracle.gaussian_samples(covariance, 100_000) + mean
    left = torch.cat([x[:, keep], torch.ones(len(x), 1)], dim=1)
    solution = torch.linalg.lstsq(left, x[:, [1, 4]]).solution
    assert torch.allclose(torch.cat([mix, constant[None]]), solution, atol=0.05)


def test_without_intercept_raw_moments_are_fitted():
    mean, covariance = random_moments(6)
    keep = torch.tensor([0, 2, 3, 5])
    mix, constant = reconstruction(mean, covariance, keep, 1e-9, intercept=False)
    raw = covariance + mean.outer(mean)
    assert torch.allclose(raw[keep][:, keep] @ mix, raw[keep][:, [1, 4]], atol=1e-6)
    assert not constant.any()


def test_mixed_weight_keeps_the_output_of_an_exact_combination():
    keep, mix = torch.tensor([0, 2]), torch.tensor([[2.0], [-1.0]]).double()
    f = torch.randn(3, 7, dtype=torch.float64)
    f[1] = 2 * f[0] - f[2]
    weight = torch.randn(3, 4, 1, dtype=torch.float64)
    after = mixed_weight(weight, keep, mix)
    assert not after[1].any()
    assert torch.allclose(after[:, :, 0].T @ f, weight[:, :, 0].T @ f)


def test_empty_removal():
    mean, covariance = random_moments(4)
    mix, constant = reconstruction(mean, covariance, torch.arange(4))
    assert mix.shape == (4, 0) and constant.shape == (0,)


def test_masked_statistics_agree_with_sampling():
    mean, covariance = random_moments(4)
    dense, taps = torch.randn(4, 3, 4, dtype=torch.float64), tap_correlation((2, 2), 0.5)
    masked = dense * (dense.abs() > 0.5)
    shift, quotient = masked_statistics(dense, masked, mean, covariance, taps)
    x = oracle.gaussian_samples(torch.kron(covariance, taps), 200_000) + mean.repeat_interleave(4)
    before, after = (x @ w.transpose(1, 2).reshape(16, 3) for w in (dense, masked))
    assert torch.all((shift - (after - before).mean(dim=0)).abs() < 0.02)
    assert torch.all((quotient / (after.var(dim=0) / before.var(dim=0)) - 1).abs() < 0.02)
    norm = nn.BatchNorm2d(3)
    correct_norm(norm, shift, quotient)
    assert torch.allclose(norm.running_mean.double(), shift, atol=1e-6)
    assert torch.allclose(norm.running_var.double(), quotient, atol=1e-6)


def test_nothing_masked_changes_nothing():
    mean, covariance = random_moments(4)
    dense = torch.randn(4, 3, 1, dtype=torch.float64)
    dense[:, 0] = 0
    shift, quotient = masked_statistics(dense, dense, mean, covariance, torch.ones(1, 1, dtype=torch.float64))
    assert torch.equal(shift, torch.zeros(3).double()) and torch.equal(quotient, torch.ones(3).double())
    assert torch.allclose(output_mean(dense, mean), mean @ dense[:, :, 0])
