"""faster_inference: the same outputs from less work, and the same network afterwards."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmprune.distortion.inference import faster_inference
from tests import networks as big
from tests.networks import randomise
from tests.test_distortion.networks import make


class Pair(nn.Module):
    """A conv and a batch norm, joined by a function."""

    def __init__(self, join=lambda conv, norm, x: norm(conv(x)), **options):
        super().__init__()
        self.conv, self.norm, self.join = nn.Conv2d(3, 4, 3, **options), nn.BatchNorm2d(4), join

    def forward(self, x):
        return self.join(self.conv, self.norm, x)


class Tied(nn.Module):
    """Two convs with one weight, and a batch norm behind each."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Pair(), Pair()
        self.b.conv.weight = self.a.conv.weight

    def forward(self, x):
        return self.a(x), self.b(x)


def runs_of(net, images):
    """Outputs, and how many batch norms do anything."""
    ran = []
    hooks = [
        m.register_forward_hook(lambda m, args, out: ran.append(out is not args[0]))
        for m in net.modules()
        if isinstance(m, nn.BatchNorm2d)
    ]
    outputs = net(images)
    for hook in hooks:
        hook.remove()
    return outputs if isinstance(outputs, (list, tuple)) else [outputs], sum(ran)


@torch.no_grad()
def check(net, images, rtol=1e-4):
    """How many batch norms are folded and ReLUs in place; outputs stay, and the network comes back bit by bit."""
    net.eval()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    relus = [m for m in net.modules() if type(m) is nn.ReLU]
    modes = [relu.inplace for relu in relus]
    before, norms = runs_of(net, images)
    given = images.clone()
    with faster_inference(net, net, images):
        assert torch.equal(given, images)
        after, left = runs_of(net, images)
        in_place = sum(relu.inplace for relu in relus) - sum(modes)
    for a, b in zip(before, after):
        assert (a - b).abs().max() <= rtol * a.abs().max()
    again, norms_again = runs_of(net, images)
    assert norms_again == norms and all(torch.equal(a, b) for a, b in zip(before, again))
    assert [relu.inplace for relu in relus] == modes and net.state_dict().keys() == state.keys()
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    return norms - left, in_place


def test_every_conv_with_a_batch_norm_behind_it():
    assert check(make('in place'), torch.randn(2, 3, 8, 8)) == (6, 0)
    assert check(make('shared'), torch.randn(2, 3, 8, 8)) == (0, 0)


@pytest.mark.parametrize(
    'join',
    [
        lambda conv, norm, x: norm(conv(x)) + conv(x),
        lambda conv, norm, x: (y := conv(x)) + norm(y),
        lambda conv, norm, x: norm(conv(x).relu_()),
        lambda conv, norm, x: norm(norm(conv(x))),
    ],
    ids=['conv twice', 'output twice', 'something between', 'norm twice'],
)
def test_what_cannot_be_folded_stays(join):
    assert check(randomise(Pair(join)), torch.randn(2, 3, 8, 8)) == (0, 0)


@pytest.mark.parametrize('bias', [True, False])
def test_a_bias_goes_with_it(bias):
    assert check(randomise(Pair(bias=bias)), torch.randn(2, 3, 8, 8)) == (1, 0)


def test_shared_and_computed_weights_come_back():
    assert check(randomise(Tied()), torch.randn(2, 3, 8, 8)) == (0, 0)
    net = randomise(Pair())
    torch.nn.utils.parametrizations.weight_norm(net.conv)
    assert check(net, torch.randn(2, 3, 8, 8)) == (0, 0)


def test_statistics_of_the_batch_are_not_folded():
    net = Pair()
    net.norm = nn.BatchNorm2d(4, track_running_stats=False)
    assert check(net, torch.randn(2, 3, 8, 8)) == (0, 0)


def test_relus_work_in_place_unless_somebody_else_looks():
    conv = nn.Conv2d(3, 4, 3)
    assert check(nn.Sequential(conv, nn.ReLU()), torch.randn(2, 3, 8, 8)) == (0, 1)
    assert check(nn.Sequential(nn.ReLU(), conv), torch.randn(2, 3, 8, 8)) == (0, 0)  # it would change the images

    class PreActivation(Pair):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            x = self.norm(self.conv(x))
            return self.relu(x) + x

    assert check(randomise(PreActivation()), torch.randn(2, 3, 8, 8)) == (1, 0)


def test_what_cannot_be_written_to_is_not():
    class Spread(nn.Sequential):
        def forward(self, x):
            return super().forward(x.mean(dim=(2, 3), keepdim=True).expand_as(x))

    assert check(Spread(nn.ReLU(), nn.Conv2d(3, 4, 3)), torch.randn(2, 3, 8, 8)) == (0, 0)


def test_an_error_inside_leaves_nothing_behind():
    net, images = make('in place'), torch.randn(2, 3, 8, 8)
    own = net.blocks[0].bn1.forward = nn.BatchNorm2d.forward.__get__(net.blocks[0].bn1)
    before = net(images)
    with pytest.raises(ZeroDivisionError), faster_inference(net, net, images):
        assert net.blocks[0].bn2(images) is images
        raise ZeroDivisionError
    assert torch.equal(before, net(images)) and net.blocks[0].bn1.__dict__['forward'] is own
    assert net.blocks[0].conv1.bias is None and 'forward' not in net.blocks[0].bn2.__dict__


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'share'),
    [
        ('torchvision MobileNetV3', 1),
        ('torchvision DenseNet', 8 / 17),
        ('torchvision ShuffleNetV2', 1),
        ('mmdet ResNet-50 FPN', 1),
        ('mmdet CSPDarknet YOLOXPAFPN', 1),
        ('mmdet HRNet', 1),
        ('mmdet Res2Net', 1),
    ],
)
def test_backbones_of_every_kind(name, share):
    net = big.NETWORKS[name]()
    folded, _ = check(net, torch.randn(2, 3, *[64 if 'mmdet' in name else 32] * 2), rtol=1e-3)
    assert folded == share * sum(isinstance(m, _BatchNorm) for m in net.modules())
