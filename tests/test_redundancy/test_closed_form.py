import pytest
import torch
from torch import nn

from mmprune.criteria.redundancy import HashAgreement, white_noise_agreement
from mmprune.criteria.redundancy.hash import hash_basis


def measured(conv: nn.Conv2d, images: int, size: int, dc: bool = True) -> torch.Tensor:
    stream = HashAgreement(conv.out_channels, dc=dc)
    with torch.no_grad():
        for _ in range(images // 50):
            stream.update(conv(torch.randn(50, conv.in_channels, size, size))[:, :, None])
    return stream.similarity()


@pytest.mark.parametrize(
    'options',
    [
        dict(kernel_size=3),
        dict(kernel_size=3, stride=2),
        dict(kernel_size=(1, 5)),
        dict(kernel_size=1),
        dict(kernel_size=3, dilation=2),
        dict(kernel_size=3, groups=2),
        dict(kernel_size=3, stride=2, dilation=2),
        dict(kernel_size=2, stride=3),
    ],
    ids=str,
)
@pytest.mark.parametrize('dc', [True, False])
def test_agrees_with_white_noise_without_padding(options, dc):
    """Without padding the map is exactly stationary, and only the sampling error of 400 images is left."""
    conv = nn.Conv2d(4, 10, bias=False, **options)
    with torch.no_grad():
        conv.weight[1] = conv.weight[0] + 0.3 * torch.randn_like(conv.weight[0])
        expected = measured(conv, 400, 24, dc)
        size = tuple(conv(torch.zeros(1, 4, 24, 24)).shape[2:])
    ours = white_noise_agreement(conv, torch.arange(10)[:, None], size, dc=dc)
    off = ~torch.eye(10, dtype=torch.bool)
    assert (ours - expected)[off].abs().max() < 0.02
    assert (ours - expected)[off].square().mean().sqrt() < 0.006


def test_padding_costs_little():
    torch.manual_seed(1)
    conv = nn.Conv2d(8, 48, 3, padding=1, bias=False)
    expected = measured(conv, 100, 32)
    ours = white_noise_agreement(conv, torch.arange(48)[:, None], (32, 32))
    upper = torch.triu(torch.ones(48, 48), 1) > 0
    assert torch.corrcoef(torch.stack([ours[upper], expected[upper]]))[0, 1] > 0.99
    assert (ours - expected)[upper].square().mean().sqrt() < 0.015


def test_correlations_are_those_of_a_literal_covariance():
    conv = nn.Conv2d(2, 3, (3, 2), bias=False).double()
    height, width = 4, 5
    pixels = (height + 2) * (width + 1) * 2
    eye = torch.eye(pixels, dtype=torch.float64).reshape(pixels, 2, height + 2, width + 1)
    with torch.no_grad():
        response = conv(eye)  # (pixels, 3, H, W): the linear map itself
    functionals = torch.einsum('pchw,bhw->cbp', response, hash_basis(height, width))
    covariance = torch.einsum('ibp,jbp->bij', functionals, functionals)
    scale = covariance.diagonal(dim1=1, dim2=2).sqrt()
    rho = (covariance / scale[:, :, None] / scale[:, None]).clamp(-1, 1)
    expected = (1 - rho.arccos() / torch.pi).mean(dim=0)
    ours = white_noise_agreement(conv, torch.arange(3)[:, None], (height, width))
    off = ~torch.eye(3, dtype=torch.bool)
    assert torch.allclose(ours[off], expected[off], atol=1e-5)


def test_equal_filters_agree_and_opposite_ones_do_not():
    conv = nn.Conv2d(3, 3, 3, bias=False)
    with torch.no_grad():
        conv.weight[1] = 2 * conv.weight[0]
        conv.weight[2] = -conv.weight[0]
    ours = white_noise_agreement(conv, torch.arange(3)[:, None], (16, 16))
    assert ours[0, 1] == pytest.approx(1, abs=1e-3)
    assert ours[0, 2] == pytest.approx(0, abs=1e-3)
