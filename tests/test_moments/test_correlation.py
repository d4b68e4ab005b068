import pytest
import torch
from torch import nn

from mmprune.moments.correlation import (
    correlation,
    fit_rho,
    layer_filters,
    output_covariance,
    output_variances,
    tap_correlation,
)
from tests.oracles import moments as oracle


@pytest.mark.parametrize(('size', 'rho'), [((3, 3), 0.8), ((1, 5), 0.5), ((2, 2), 0.0), ((1, 1), 0.3)])
def test_tap_correlation_equals_loops(size, rho):
    assert torch.allclose(tap_correlation(size, rho), oracle.tap_correlation(*size, rho))


def test_shifted_taps_are_a_window_of_a_larger_kernel():
    large = tap_correlation((3, 5), 0.7).reshape(3, 5, 3, 5)
    shifted = tap_correlation((3, 3), 0.7, shift=(0, 2)).reshape(3, 3, 3, 3)
    assert torch.allclose(shifted, large[:, :3][:, :, :, 2:])


def test_output_covariance_equals_loops():
    filters, taps = torch.randn(4, 3, 9, dtype=torch.float64), tap_correlation((3, 3), 0.8)
    expected = oracle.output_covariance(filters, taps)
    assert torch.allclose(output_covariance(filters, taps), expected)
    assert torch.allclose(output_covariance(filters, taps, torch.eye(3, dtype=torch.float64)), expected)
    assert torch.allclose(output_variances(filters, taps), expected.diagonal())


def test_correlated_input_channels_agree_with_sampling():
    filters, taps = torch.randn(3, 2, 4, dtype=torch.float64), tap_correlation((2, 2), 0.6)
    channels = torch.tensor([[1.0, 0.7], [0.7, 2.0]], dtype=torch.float64)
    x = oracle.gaussian_samples(torch.kron(channels, taps), 200_000)
    sampled = torch.cov((x @ filters.flatten(1).T).T)
    assert torch.allclose(output_covariance(filters, taps, channels), sampled, atol=0.02 * float(sampled.max()))


def test_correlation_of_a_dead_unit_is_zero():
    r = correlation(torch.tensor([[4.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    assert torch.equal(r, torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize('rho', [0.3, 0.8, 0.95])
def test_fit_finds_the_rho_that_made_the_variances(rho):
    filters = torch.randn(16, 4, 9, dtype=torch.float64)
    variances = 3.7 * output_variances(filters, tap_correlation((3, 3), rho))
    assert fit_rho(filters, (3, 3), variances) == rho


def test_fit_survives_a_dead_channel():
    filters = torch.randn(16, 4, 9, dtype=torch.float64)
    filters[0] = 0
    assert fit_rho(filters, (3, 3), output_variances(filters, tap_correlation((3, 3), 0.8))) == 0.8


def test_layer_filters_of_convs_and_linears():
    conv, linear = nn.Conv2d(3, 4, (1, 5)), nn.Linear(6, 4)
    assert layer_filters(conv, torch.tensor([2, 0])).shape == (2, 3, 5)
    assert layer_filters(linear, torch.arange(4)).shape == (4, 6, 1)
