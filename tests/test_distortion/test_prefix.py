"""PrefixReplay: the same outputs as a whole forward pass, with less work."""

import pytest
import torch
from torch import nn

from mmprune.distortion import PrefixReplay
from mmprune.graph.tracing import flatten_tensors
from tests import networks as big
from tests.test_distortion.networks import NETWORKS, make


def layers_of(net):
    return {name: m for name, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


@torch.no_grad()
def check(net, images, stride=1):
    prefix = PrefixReplay(net, net, images[:1])
    checked = 0
    for name, layer in list(layers_of(net).items())[::stride]:
        if prefix.order(layer) is None:
            continue
        weight = layer.weight.clone()
        with prefix.installed():
            first = [out.clone() for out in prefix.record(layer, images)]
            replays = []
            for scale in (0.5, 0.0, 1.0):
                layer.weight.copy_(weight * scale)
                replays.append((scale, [out.clone() for out in prefix.replay(images)]))
        for scale, outputs in [(1.0, first), *replays]:
            layer.weight.copy_(weight * scale)
            for a, b in zip(flatten_tensors(net(images)), outputs):
                assert torch.equal(a, b), (name, scale)
        layer.weight.copy_(weight)
        checked += 1
    return checked


@pytest.mark.parametrize('name', NETWORKS)
def test_bit_equal_to_a_whole_pass_for_every_layer(name):
    net = make(name)
    assert check(net, torch.randn(3, 3, 8, 8)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        'torchvision MobileNetV3',
        'torchvision DenseNet',
        'torchvision ShuffleNetV2',
        'mmpretrain Swin',
        'mmdet ResNet-50 FPN',
        'mmdet CSPDarknet YOLOXPAFPN',
        'mmdet HRNet',
        'mmdet Res2Net',
    ],
)
def test_bit_equal_on_backbones_of_every_kind(name):
    net = big.NETWORKS[name]()
    net.eval()
    size = 64 if 'Swin' in name or 'mmdet' in name else 32
    assert check(net, torch.randn(2, 3, size, size), stride=5) >= 3


def test_what_comes_before_does_not_run_again():
    net, images = make('in place'), torch.randn(2, 3, 8, 8)
    prefix = PrefixReplay(net, net, images)
    calls = []
    for name, layer in layers_of(net).items():
        original = layer.forward
        layer.forward = lambda x, original=original, name=name: (calls.append(name), original(x))[1]
    with prefix.installed():
        prefix.record(net.blocks[1].conv2, images)
        calls.clear()
        prefix.replay(images)
    assert calls == ['blocks.1.conv2', 'blocks.1.shortcut', 'blocks.2.conv1', 'blocks.2.conv2', 'fc']


def test_the_network_is_its_old_self_afterwards():
    net, images = make('shared'), torch.randn(2, 3, 8, 8)
    own = net.mix.forward = nn.Conv2d.forward.__get__(net.mix)
    prefix = PrefixReplay(net, net, images)
    with pytest.raises(ZeroDivisionError), prefix.installed():
        prefix.record(net.mix, images)
        raise ZeroDivisionError
    assert net.mix.__dict__['forward'] is own
    assert not any(
        'forward' in m.__dict__ or '_forward_before_replay' in m.__dict__ for m in net.modules() if m is not net.mix
    )


def test_a_forward_pass_that_changes_its_way_is_refused():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.a(x) if x.sum() > 0 else self.b(x)

    net = Fickle()
    prefix = PrefixReplay(net, net, torch.ones(1, 2))
    with prefix.installed(), pytest.raises(RuntimeError, match='other modules'):
        prefix.record(net.a, -torch.ones(1, 2))
