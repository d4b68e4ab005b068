"""Gathered convolutions are the same function."""

import pytest
import torch
from torch import nn

import mmprune
from mmprune.expanders.gathered import GatheredConv2d, gather_convs


@pytest.mark.parametrize(
    'options',
    [
        dict(padding=1),
        dict(stride=2, padding=1, bias=False),
        dict(dilation=2, padding='same'),
        dict(kernel_size=1, stride=2),
        dict(kernel_size=(1, 3)),
    ],
)
@pytest.mark.parametrize('graph', ['RandomRegular', 'XNet', 'Random'])
def test_same_outputs(options, graph):
    conv = nn.Conv2d(12, 20, **{'kernel_size': 3, **options})
    images = torch.randn(2, 12, 9, 8)
    mmprune.prune(conv, images, pruner=dict(type='ExpanderPruner', graph=graph, degree=2, dense_head=False))
    own = GatheredConv2d(conv)
    with torch.no_grad():
        assert torch.allclose(own(images), conv(images), atol=1e-6)
    assert own.rounds == int(conv.weight_mask.flatten(2).any(2).sum(1).max())


@pytest.mark.parametrize('measure', [True, False])
def test_a_network(measure):
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, groups=4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    images = torch.randn(4, 3, 16, 16)
    mmprune.prune(net, images, pruner=dict(type='ExpanderPruner', graph='XNet', degree=3))
    net.eval()
    with torch.no_grad():
        expected = net(images)
        found = gather_convs(net, images, measure)
        assert torch.allclose(net(images), expected, atol=1e-5)
    assert [entry.name for entry in found] == ['0', '3']
    for entry in found:
        assert isinstance(net.get_submodule(entry.name), GatheredConv2d) == entry.replaced
        assert entry.replaced == (not measure or entry.gathered_ms < entry.dense_ms)
    assert not any(key.endswith('mask') for key in net.state_dict())


def test_networks_without_masks_stay():
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert gather_convs(net, torch.zeros(1, 3, 8, 8)) == [] and isinstance(net[0], nn.Conv2d)
