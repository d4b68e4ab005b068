import copy

import pytest
import torch
from torch import nn

from mmprune.graph.site import Branch
from mmprune.moments import (
    Moments,
    batch_statistics,
    blend,
    correct_drift,
    measure_moments,
    measure_sizes,
    noise_like,
    norm_statistics,
)
from mmprune.moments.measure import RunningMoments


def small_net():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)).eval()
    net[1].weight.data.uniform_(0.5, 2)
    net[1].bias.data.normal_()
    net[1].running_var.fill_(7)
    return net


def branch_of(net):
    return Branch('reader', net[3], torch.arange(4)[:, None], ())


def test_stream_equals_moments_of_all_samples():
    x = torch.randn(100, 6, dtype=torch.float64) + 3
    stream = RunningMoments()
    for batch in x.split([1, 40, 59]):
        stream.update(batch)
    moments = stream.moments()
    assert torch.allclose(moments.mean, x.mean(dim=0), atol=1e-6)
    assert torch.allclose(moments.covariance.double(), torch.cov(x.T, correction=0), atol=1e-5)


def test_a_batch_may_be_larger_than_what_is_taken_in_at_a_time(monkeypatch):
    x, whole, chunked = torch.randn(100, 6), RunningMoments(), RunningMoments()
    whole.update(x)
    monkeypatch.setattr('mmprune.moments.measure.CHUNK', 20)  # three samples
    chunked.update(x)
    whole, chunked = whole.moments(), chunked.moments()
    assert torch.allclose(whole.mean, chunked.mean)
    assert torch.allclose(whole.covariance, chunked.covariance, atol=1e-6)


def test_measured_moments_are_those_of_the_readers_input():
    net, x = small_net(), torch.randn(8, 3, 6, 6)
    (moments,) = measure_moments([branch_of(net)], net, x.split(3))
    f = net[:3](x).transpose(0, 1).flatten(1).double()
    assert torch.allclose(moments.mean, f.mean(dim=1), atol=1e-6)
    assert torch.allclose(moments.covariance.double(), torch.cov(f, correction=0), atol=1e-5)
    assert moments.size == (6, 6)
    assert measure_sizes([branch_of(net)], net, [x]) == [(6, 6)]
    assert not net[3]._forward_pre_hooks


def test_a_linear_reader_behind_a_flatten_pools_its_pixels():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    branch = Branch('fc', net[1], torch.arange(12).reshape(3, 4), ())
    x = torch.randn(50, 3, 2, 2)
    (moments,) = measure_moments([branch], net, [x])
    assert torch.allclose(moments.mean, x.mean(dim=(0, 2, 3)).double(), atol=1e-6)


@pytest.mark.parametrize(
    'convert', [lambda net: net, torch.nn.SyncBatchNorm.convert_sync_batchnorm], ids=['BN', 'SyncBN']
)
def test_batch_statistics_give_the_scales_of_training_and_leave_no_trace(convert):
    net, x = convert(small_net()), 5 * torch.randn(64, 3, 8, 8) + 2
    before = copy.deepcopy(net.state_dict())
    seen = []
    net[2].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with batch_statistics():
        net(x)
    assert torch.allclose(seen[0].mean(dim=(0, 2, 3)), net[1].bias, atol=1e-4)
    assert torch.allclose(seen[0].std(dim=(0, 2, 3)), net[1].weight.abs(), rtol=1e-2)
    assert not net[1].training and net[1].momentum == 0.1
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net(x)
    assert not torch.allclose(seen[0], seen[1])


def test_batch_statistics_end_with_an_error_too():
    net = small_net()
    with pytest.raises(RuntimeError), batch_statistics():
        net(torch.randn(2, 3, 1, 1))  # too small for the last conv
    assert not net[1].training


def test_drift_is_what_the_same_noise_shows():
    net, x = small_net(), torch.randn(64, 3, 8, 8)
    stored = (net[1].running_mean.clone(), net[1].running_var.clone())
    before = norm_statistics(net, [x])[net[1]]
    net[0].weight.data.mul_(0.5)
    net[0].bias.data.mul_(0.5).add_(1)
    correct_drift(net[1], stored, before, norm_statistics(net, [x])[net[1]])
    expected = 0.5 * stored[0].double() + 1
    assert torch.allclose(net[1].running_mean.double(), expected, atol=1e-5)
    assert torch.allclose(net[1].running_var, 0.25 * stored[1], rtol=1e-4)


def test_noise_has_the_examples_shape_and_enough_pixels():
    batches = list(noise_like(torch.zeros(1, 3, 32, 32)))
    assert sum(len(batch) for batch in batches) == 200 and batches[0].shape[1:] == (3, 32, 32)
    assert len(noise_like(torch.zeros(2, 3, 224, 224), only_one=True)) == 1
    assert noise_like(torch.zeros(2, 10)) is None and noise_like({'x': 1}) is None


def test_blend_averages_covariances_and_keeps_measured_means():
    a = Moments(torch.ones(2), 2 * torch.eye(2), size=(4, 4))
    b = blend(a, Moments(torch.zeros(2), torch.ones(2, 2)))
    assert torch.equal(b.mean, a.mean) and b.size == (4, 4)
    assert torch.equal(b.covariance, torch.tensor([[1.5, 0.5], [0.5, 1.5]]))
