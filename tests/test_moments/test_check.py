"""The model's self-check."""

import pytest
import torch
from torch import nn

from mmprune.graph.find import find_groups
from mmprune.moments import check_moments
from mmprune.moments.correlation import kernel_size, layer_filters, output_variances, tap_correlation


def make_sites(exact: bool) -> tuple[nn.Module, list]:
    net = nn.Sequential(nn.Conv2d(4, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 5, 1)).eval()
    if exact:
        filters = layer_filters(net[0], torch.arange(12))
        net[1].running_var.copy_(3 * output_variances(filters, tap_correlation(kernel_size(net[0]), 0.8)))
    else:
        net[1].running_var.copy_(torch.rand(12) + 0.1)
    groups = find_groups(net, net, torch.randn(1, 4, 8, 8), [''])
    return net, [group.site for group in groups if group.site]


def test_variances_that_follow_the_model_agree_perfectly():
    _, sites = make_sites(exact=True)
    (check,) = check_moments(sites)
    assert check.rho == 0.8
    assert check.variance_correlation == pytest.approx(1, abs=1e-5)
    assert check.mean_error is None


def test_random_variances_do_not():
    _, sites = make_sites(exact=False)
    (check,) = check_moments(sites)
    assert check.variance_correlation < 0.9


def test_white_noise_images_are_what_the_model_without_pixel_correlation_says():
    net, _ = make_sites(exact=True)
    filters = layer_filters(net[0], torch.arange(12))
    net[1].running_var.copy_(output_variances(filters, tap_correlation((3, 3), 0.0)))
    sites = [g.site for g in find_groups(net, net, torch.randn(1, 4, 8, 8), ['']) if g.site]
    with torch.no_grad():
        (check,) = check_moments(sites, net, [torch.randn(64, 4, 16, 16) for _ in range(4)])
    assert check.rho == 0.0
    assert check.mean_error < 0.05 and check.std_error < 0.05
    assert check.covariance_correlation > 0.95
