"""Masked networks and restorers: batch norms move without data, and the user is told when nothing was repaired."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import mmprune
from mmprune.models import published_keys_of, rename_published
from mmprune.registry import MODELS
from mmprune.surgery.masking import masks
from tests.networks import randomise

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
NOISE = dict(type='MomentRestoration', moments='noise')


def make():
    torch.manual_seed(0)
    return randomise(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
    )


def prune(net, restorer, ratio=0.8, images=None):
    return mmprune.prune(
        net,
        torch.zeros(1, 3, 16, 16),
        images=images,
        restorer=restorer,
        pruner=dict(type='WeightPruner', allocator=dict(type='Global', ratio=ratio)),
    )


def test_only_running_statistics_move():
    plain, repaired = make(), make()
    prune(plain, None)
    report = prune(repaired, NOISE)
    for (key, a), b in zip(plain.state_dict().items(), repaired.state_dict().values()):
        assert torch.equal(a, b) != key.endswith(('running_mean', 'running_var')), key
    assert not report.warnings and 'no data' in report.stages[-1].note
    assert masks(repaired).keys() == {'0', '3'}


def test_means_and_variances_are_those_of_the_masked_network():
    """On inputs like the noise itself the repaired statistics are nearly the true ones."""
    from mmprune.images.noise import noise_like

    net = make()
    images = torch.cat(list(noise_like(torch.zeros(1, 3, 16, 16))))
    with torch.no_grad():
        first = net[0](images)
        net[1].running_mean.copy_(first.mean((0, 2, 3)))
        net[1].running_var.copy_(first.var((0, 2, 3)))
        prune(net, NOISE, ratio=0.5)
        first = net[0](images)
    torch.testing.assert_close(net[1].running_mean, first.mean((0, 2, 3)), rtol=0.02, atol=0.02)
    torch.testing.assert_close(net[1].running_var, first.var((0, 2, 3)), rtol=0.05, atol=1e-3)


def test_a_filter_that_is_gone_stays_silent():
    net = make()
    with torch.no_grad():
        net[0].weight[2] *= 0.01
    prune(net, NOISE, ratio=0.5)
    assert not masks(net)['0'][2].any()
    out = net(torch.randn(4, 3, 16, 16))
    assert torch.isfinite(out).all()
    silent = net[1](net[0](torch.randn(4, 3, 16, 16)))[:, 2]
    torch.testing.assert_close(silent, net[1].bias[2].expand_as(silent), rtol=0, atol=1e-2)


@pytest.mark.parametrize('restorer', ['NeuronMerging', dict(type='MomentRestoration', moments='closure')])
def test_a_restorer_that_does_nothing_here_says_so(restorer):
    assert any('found nothing to repair' in warning for warning in prune(make(), restorer).warnings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'weights', 'ratio', 'masked', 'repaired'),
    [('resnet56_nm_cifar', 'resnet56_nm_cifar10', 0.8, 75, 87), ('resnet20_cifar', 'resnet20_cifar10', 0.8, 45, 75)],
)
def test_published_networks_at_80_percent(data_root, name, weights, ratio, masked, repaired):
    """Real-image re-estimation of the batch norms gives 87.8 and 73.2 on these images."""
    init_default_scope('mmpretrain')
    net = MODELS.build(Config.fromfile(CONFIGS / f'{name}.py').model).eval()
    state = torch.load(data_root / 'weights' / f'{weights}.pth', map_location='cpu', weights_only=True)['state_dict']
    net.load_state_dict(rename_published(state, published_keys_of(net)), strict=True)
    data = np.load(data_root / 'cifar10' / 'cifar10_test_lossless_1017.npz')
    processor = net.data_preprocessor
    images = (torch.from_numpy(data['x']).permute(0, 3, 1, 2).float() - processor.mean) / processor.std

    def accuracy():
        net.eval()
        with torch.no_grad():
            answers = torch.cat([net(batch, mode='tensor').argmax(1) for batch in images.split(128)])
        return {'top1': 100 * float((answers.numpy() == data['y']).mean())}

    report = mmprune.prune(
        net,
        torch.zeros(1, 3, 32, 32),
        evaluate=accuracy,
        restorer=NOISE,
        pruner=dict(type='WeightPruner', allocator=dict(type='Global', ratio=ratio)),
    )
    assert report.stage('pruned').metrics['top1'] < masked
    assert report.stage('restored').metrics['top1'] > repaired
