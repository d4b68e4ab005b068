import pytest
import torch
import torch.nn.functional as F

from mmprune.moments.hermite import activation_moments, hermite_coefficients
from tests.oracles import moments as oracle

ACTIVATIONS = {
    'relu': F.relu,
    'relu6': F.relu6,
    'leaky_relu': lambda x: F.leaky_relu(x, 0.1),
    'silu': F.silu,
    'gelu': F.gelu,
    'hardswish': F.hardswish,
    'none': lambda x: x,
}


@pytest.mark.parametrize('name', ACTIVATIONS)
@pytest.mark.parametrize('r', [-0.6, 0.0, 0.3, 0.9])
def test_moments_equal_quadrature_in_two_dimensions(name, r):
    function = ACTIVATIONS[name]
    scale, shift = torch.tensor([1.3, -0.7]).double(), torch.tensor([-0.4, 0.9]).double()
    mean, covariance = activation_moments(function, scale, shift, torch.tensor([[1.0, r], [r, 1.0]]).double(), 12)
    m1, m2, v1, c12 = oracle.pair_moments(function, scale, shift, r)
    assert torch.allclose(mean, torch.stack([m1, m2]), atol=2e-4)
    assert abs(covariance[0, 0] - v1) < 1e-3
    assert abs(covariance[0, 1] - c12) < 2e-3


def test_relu_coefficients_are_the_known_ones():
    c, variance = hermite_coefficients(F.relu, torch.ones(1), torch.zeros(1), 2)
    assert torch.allclose(c[:, 0], torch.tensor([0.398942, 0.5, 0.282095]).double(), atol=2e-5)
    assert abs(variance - (0.5 - 0.5 / torch.pi)) < 2e-5


def test_moments_agree_with_sampling():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(5, 7, dtype=torch.float64, generator=generator)
    cov = root @ root.T
    r = cov / cov.diagonal().sqrt().outer(cov.diagonal().sqrt())
    scale, shift = torch.randn(2, 5, dtype=torch.float64, generator=generator)
    mean, covariance = activation_moments(F.relu, scale, shift, r, 12)
    count = 200_000
    f = F.relu(oracle.gaussian_samples(r, count) * scale + shift)
    assert torch.all((mean - f.mean(dim=0)).abs() < 5 * f.std(dim=0) / count**0.5)
    product = (f - f.mean(dim=0))[:, :, None] * (f - f.mean(dim=0))[:, None]
    assert torch.all((covariance - product.mean(dim=0)).abs() < 5 * product.std(dim=0) / count**0.5 + 1e-3)


def test_equal_units_stay_equal_and_covariance_is_positive():
    r = torch.ones(2, 2).double()
    _, covariance = activation_moments(F.relu, torch.ones(2), torch.zeros(2), r, 4)
    assert torch.allclose(covariance, covariance[0, 0].expand(2, 2))
    root = torch.randn(10, 4, dtype=torch.float64)
    r = torch.nn.functional.normalize(root) @ torch.nn.functional.normalize(root).T
    _, covariance = activation_moments(F.silu, torch.randn(10), torch.randn(10), r, 6)
    assert torch.linalg.eigvalsh(covariance).min() > -1e-9


def test_a_function_may_depend_on_the_unit():
    slope = torch.tensor([0.0, 1.0]).double()
    mean, _ = activation_moments(
        lambda x: torch.where(x >= 0, x, x * slope[:, None]), torch.ones(2), torch.zeros(2), torch.eye(2).double()
    )
    assert torch.allclose(mean, torch.tensor([0.398942, 0.0]).double(), atol=2e-5)
