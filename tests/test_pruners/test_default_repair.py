"""What `mmprune.prune` repairs with when nobody says."""

import torch
from torch import nn

import mmprune

EXAMPLE = torch.zeros(1, 3, 16, 16)
PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5))


def network() -> nn.Module:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    net(torch.randn(64, 3, 16, 16))
    return net.eval()


def test_the_default_is_the_repair_without_data() -> None:
    default, named, plain = network(), network(), network()
    report = mmprune.prune(default, EXAMPLE, pruner=PRUNER)
    mmprune.prune(named, EXAMPLE, pruner=PRUNER, restorer='MomentRestoration')
    mmprune.prune(plain, EXAMPLE, pruner=PRUNER, restorer=None)
    images = torch.randn(4, 3, 16, 16)
    assert [stage.name for stage in report.stages] == ['dense', 'pruned', 'restored']
    assert torch.equal(default(images), named(images))
    assert not torch.allclose(default(images), plain(images))


def test_masked_weights_are_repaired_too() -> None:
    pruner = dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.5))
    report = mmprune.prune(network(), EXAMPLE, pruner=pruner)
    assert report.stages[-1].note.startswith('MomentRestoration')


def test_none_leaves_the_network_as_cut() -> None:
    report = mmprune.prune(network(), EXAMPLE, pruner=PRUNER, restorer=None)
    assert [stage.name for stage in report.stages] == ['dense', 'pruned']
