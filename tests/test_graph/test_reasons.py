"""What lies between layers: it can be cut exactly, or the reason why not is the true one."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from mmprune.graph.find import find_groups
from mmprune.graph.group import Member
from mmprune.graph.scope import Scope
from mmprune.graph.verify import refuse_wrong_groups
from mmprune.pruners import ChannelPruner
from tests.networks import randomise
from tests.oracles.masked_readers import difference, masked_readers, record_of

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Standardised(nn.Conv2d):
    """A conv that standardises its weight at every pass: what one input weighs depends on the others."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


def between(step, dims=2, width=12, out=12, reader=None):
    step = step if isinstance(step, nn.Module) else Apply(step)
    conv = CONV[dims]
    return randomise(nn.Sequential(conv(3, width, 3), step, reader or conv(out, 4, 1), nn.ReLU(), conv(4, 2, 1)))


def groups_of(net, example):
    scope = Scope.of(net, example)
    groups = find_groups(net, scope.forward, scope.example, scope.targets)
    refuse_wrong_groups(net, scope.forward, scope.probe_input(), groups)
    return {group.name: group for group in groups}


def cut_right(net, *shape, ratio=0.4):
    """Cut every group that can be; the widths that are left, if the result is what masked readers say."""
    dense, example = copy.deepcopy(net), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    plan = ChannelPruner('Random', dict(type='Uniform', ratio=ratio)).plan(Scope.of(net, example))
    plan.apply()
    with torch.no_grad(), masked_readers(dense, record_of(net)) as judge:
        assert difference(judge(example), net(example)) < 1e-5
    return {row.name: row.after for row in plan.rows}


@pytest.mark.parametrize(
    'activation',
    [
        nn.Sigmoid(), nn.Softplus(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Threshold(0.1, 0.5), torch.cos, torch.exp,
        lambda x: x + 1, lambda x: 1 - x.tanh(), lambda x: x.abs().clamp(min=0.3),
    ],
)  # fmt: skip
def test_activations_that_make_something_of_zero(activation):
    assert cut_right(between(activation), 2, 3, 9, 9)['0'] == 7


@pytest.mark.parametrize('dims', [1, 2, 3])
@pytest.mark.parametrize('affine', [False, True])
@pytest.mark.parametrize('tracked', [False, True])
def test_instance_norms(dims, affine, tracked):
    norm = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dims]
    net = between(norm(12, affine=affine, track_running_stats=tracked), dims)
    assert cut_right(net, 2, 3, *[7] * dims)['0'] == 7
    assert net[1].num_features == 7


def test_other_norms_of_single_channels():
    net = between(torchvision.ops.FrozenBatchNorm2d(12))
    assert cut_right(net, 2, 3, 9, 9)['0'] == 7 and len(net[1].running_mean) == 7
    net = between(nn.GroupNorm(12, 12))
    assert cut_right(net, 2, 3, 9, 9)['0'] == 7 and (net[1].num_groups, net[1].num_channels) == (7, 7)


def flattened(name):
    size, conv = 6, CONV[int(name[0])]
    body = [conv(2, 8, 3, padding=1), nn.ReLU(), conv(8, 10, 3, padding=1), nn.Tanh()]
    head = {
        '1 flatten': [nn.Flatten(), nn.Linear(10 * size, 3)],
        '3 flatten': [nn.AdaptiveAvgPool3d((1, 2, 3)), nn.Flatten(), nn.Linear(60, 3)],
        '1 channels last': [Apply(lambda x: x.transpose(1, 2).flatten(1)), nn.Linear(10 * size, 3)],
        '2 channels last': [Apply(lambda x: x.permute(0, 2, 3, 1).flatten(1)), nn.Linear(10 * size**2, 3)],
        '2 columns': [Apply(lambda x: x.flatten(1, 2).transpose(1, 2)), nn.Linear(10 * size, 3)],
        '2 rows of a 1-D conv': [nn.Flatten(1, 2), nn.Conv1d(10 * size, 3, 1)],
        '3 mean': [Apply(lambda x: x.mean((2, 3)).flatten(1)), nn.Linear(10 * size, 3)],
        '1 norm': [nn.Flatten(), nn.BatchNorm1d(10 * size), nn.Linear(10 * size, 3)],
        '1 twice': [Apply(lambda x: torch.cat([x.flatten(1), x.mean(2)], 1)), nn.Linear(10 * size + 10, 3)],
        '1 joined': [Apply(lambda x: torch.cat([x, -x], 1).flatten(1)), nn.Linear(20 * size, 3)],
    }[name]
    return randomise(nn.Sequential(*body, *head)), (2, 2, *[size] * int(name[0]))


@pytest.mark.parametrize(
    'name',
    [
        '1 flatten', '3 flatten', '1 channels last', '2 channels last', '2 columns', '2 rows of a 1-D conv', '3 mean',
        '1 norm', '1 twice', '1 joined',
    ],
)  # fmt: skip
@pytest.mark.parametrize('batch', [1, 2])
def test_maps_that_are_flattened(name, batch):
    net, shape = flattened(name)
    if name == '1 norm' and batch == 1:
        net.eval()
    widths = cut_right(net, batch, *shape[1:])
    assert widths['0'] == 4 and widths['2'] == 6


def test_tokens_that_are_flattened():
    net = randomise(nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Flatten(), nn.Linear(16 * 7, 3)))
    assert cut_right(net, 2, 7, 5)['0'] == 9


@pytest.mark.parametrize(
    'noise',
    [
        lambda x: F.dropout(x), lambda x: F.dropout2d(x, 0.7), lambda x: x + torch.randn_like(x),
        lambda x: x * torch.rand(x.shape), lambda x: torch.normal(x, x.abs()),
        lambda x: x * torch.bernoulli(x.sigmoid()),
        lambda x: F.rrelu(x, training=True), lambda x: x + torch.empty_like(x).uniform_(-1, 2),
    ],
)  # fmt: skip
def test_networks_that_draw_random_numbers(noise):
    net = between(noise)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert groups_of(net, torch.randn(2, 3, 9, 9, generator=torch.Generator()))['0'].prunable
    assert torch.equal(torch.rand(3), expected)


MIXED = 'its channels are mixed on the way to 2'


@pytest.mark.parametrize(
    'step, reason',
    [
        (lambda x: x.softmax(1), MIXED),
        (lambda x: x.log_softmax(1), MIXED),
        (lambda x: x - x.mean(1, keepdim=True), MIXED),
        (lambda x: F.normalize(x, dim=1), MIXED),
        (lambda x: x.sort(1)[0], MIXED),
        (lambda x: x.cumsum(1), MIXED),
        (lambda x: x * x.amax(1, keepdim=True), MIXED),
        (lambda x: torch.einsum('nchw,ndhw->ncd', x, x)[..., None], MIXED),
        (lambda x: x * torch.einsum('nchw,nchw->nhw', x, x)[:, None], 'cannot follow its channels'),
        (lambda x: x.flip(1), 'the traced coupling is wrong: they reach other channels of 2'),
        (lambda x: x.roll(1, 1), 'the traced coupling is wrong: they reach other channels of 2'),
        (lambda x: x / x.shape[1], 'what 2 reads depends on the number of channels'),
        (lambda x: x.view(-1, 12, 7, 7), '1 (Apply) does not run with fewer channels'),
        (lambda x: x * torch.arange(12.0).view(12, 1, 1), '1 (Apply) does not run with fewer channels'),
        (nn.GroupNorm(3, 12), 'mixes statistics of several channels'),
        (nn.GroupNorm(1, 12), 'mixes statistics of all channels'),
    ],
)
def test_the_true_reason(step, reason):
    net = between(step)
    assert reason in groups_of(net, torch.randn(2, 3, 9, 9))['0'].reason


def test_a_reader_that_is_no_sum_over_its_channels():
    groups = groups_of(between(nn.ReLU(), reader=Standardised(12, 4, 1)), torch.randn(2, 3, 9, 9))
    assert groups['0'].reason == '2 (Standardised) does not read its channels one by one'
    assert groups['2'].prunable


def test_channels_that_get_past_their_readers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 4, 1)

        def forward(self, x):
            x = self.first(x)
            return self.second(x) + x.mean(1, keepdim=True)

    reason = groups_of(randomise(Net()), torch.randn(2, 3, 9, 9))['first'].reason
    assert reason == 'is an output of the network'


def test_a_wrong_coupling_is_found_however_little_it_does():
    """A permutation far in front of a network that forgets nearly everything."""
    net = between(nn.ReLU())
    with torch.no_grad():
        net[4].weight.mul_(1e-7)
    example = torch.randn(2, 3, 9, 9)
    scope = Scope.of(net, example)
    groups = find_groups(net, scope.forward, scope.example, scope.targets)
    group = next(group for group in groups if group.name == '0')
    reader = group.readers[0]
    group.readers = (Member(reader.name, reader.module, reader.units, reader.channels.flip(0)),)
    refuse_wrong_groups(net, scope.forward, scope.probe_input(), groups)
    assert group.reason.startswith('the traced coupling is wrong')
