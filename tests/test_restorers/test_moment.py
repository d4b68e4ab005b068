import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmprune.graph.site import Activation, Branch, Depthwise, Norm, Pool, Site
from mmprune.moments import branch_moments
from mmprune.moments.correlation import tap_correlation
from mmprune.registry import RESTORERS
from mmprune.restorers.moment import MomentRestoration
from tests.oracles import moments as oracle

RELU = Activation('relu', F.relu)


def set_norm(norm, mean, var):
    with torch.no_grad():
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.copy_(torch.randn(len(mean)).abs() + 0.3)
        norm.bias.copy_(torch.randn(len(mean)) / 2)


class Chain(nn.Module):
    """1x1 conv on white Gaussian inputs, BN, activation, 1x1 conv, BN: the assumed model holds exactly."""

    def __init__(self, n=8, cin=5, out=6, duplicate=False, activation=RELU, reader_norm=True, reader_bias=False):
        super().__init__()
        self.conv = nn.Conv2d(cin, n, 1, bias=False)
        self.norm = nn.BatchNorm2d(n)
        self.reader = nn.Conv2d(n, out, 1, bias=reader_bias)
        self.next_norm = nn.BatchNorm2d(out) if reader_norm else nn.Identity()
        self.activation = activation
        if duplicate:
            self.conv.weight.data[-1] = self.conv.weight.data[0]
        cov = self.conv.weight.detach().flatten(1)
        set_norm(self.norm, torch.zeros(n), (cov @ cov.T).diagonal())
        if duplicate:
            for value in (self.norm.weight.data, self.norm.bias.data):
                value[-1] = value[0]
        self.double().eval()
        if reader_norm:
            features = self.features(torch.randn(20000, cin, 1, 1, dtype=torch.float64))
            set_norm(self.next_norm, features.mean(dim=(0, 2, 3)), features.var(dim=(0, 2, 3)))
        self.double().eval()

    def features(self, x):
        return self.reader(self.activation.function(self.norm(self.conv(x))))

    def forward(self, x):
        return self.next_norm(self.features(x))

    def site(self, *before_activation):
        n = self.conv.out_channels
        chain = (Norm('norm', self.norm, torch.arange(n)), *before_activation, self.activation)
        norm = self.next_norm if isinstance(self.next_norm, nn.BatchNorm2d) else None
        branch = Branch('reader', self.reader, torch.arange(n)[:, None], chain, norm, 'next_norm')
        return Site('conv', n, 'conv', self.conv, torch.arange(n), (branch,))


def cut(site, keep):
    for branch in site.branches:
        weight = branch.read_weight()
        mask = torch.zeros(site.width, 1, 1, dtype=weight.dtype)
        mask[keep] = 1
        branch.write_weight(weight * mask)


def state(model):
    return copy.deepcopy(model.state_dict())


@pytest.mark.parametrize('reader_norm', [True, False])
def test_a_duplicated_channel_is_restored_exactly(reader_norm):
    net = Chain(duplicate=True, reader_norm=reader_norm, reader_bias=not reader_norm)
    x = torch.randn(50, 5, 1, 1, dtype=torch.float64)
    before, keep = net(x), torch.arange(7)
    assert MomentRestoration(lam=1e-9).restore_site(net.site(), keep) == ''
    cut(net.site(), keep)
    assert torch.allclose(net(x), before, atol=1e-5)


def test_keeping_all_is_the_identity():
    net = Chain()
    before = state(net)
    assert MomentRestoration().restore_site(net.site(), torch.arange(8)) == ''
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_moments_and_repaired_outputs_agree_with_sampling():
    net, keep, count = Chain(), torch.tensor([0, 1, 3, 4, 6]), 100_000
    x = torch.randn(count, 5, 1, 1, dtype=torch.float64)
    f = F.relu(net.norm(net.conv(x))).flatten(1)
    moments = branch_moments(net.site(), net.site().branches[0])
    assert torch.all((moments.mean - f.mean(dim=0)).abs() < 5 * f.std(dim=0) / count**0.5)
    assert torch.allclose(moments.covariance, torch.cov(f.T), atol=0.02 * float(f.var(dim=0).max()))
    dense_var = net.features(x).flatten(1).var(dim=0)
    shares = net.next_norm.running_var / dense_var
    MomentRestoration().restore_site(net.site(), keep)
    cut(net.site(), keep)
    repaired = net.features(x).flatten(1)
    # the norm expects the repaired layer's mean and, up to what was stored before, its variance
    assert torch.allclose(net.next_norm.running_mean, repaired.mean(dim=0), atol=0.03)
    assert torch.allclose(net.next_norm.running_var, shares * repaired.var(dim=0), rtol=0.05)


def test_repair_is_the_least_squares_fit_of_samples():
    net, keep = Chain(), torch.tensor([0, 1, 3, 4, 6])
    x = torch.randn(100_000, 5, 1, 1, dtype=torch.float64)
    f, target = F.relu(net.norm(net.conv(x))).flatten(1), net.features(x).flatten(1)
    left = torch.cat([f[:, keep], torch.ones(len(f), 1)], dim=1)
    fit = torch.linalg.lstsq(left, target).solution[:-1]
    MomentRestoration(lam=1e-6).restore_site(net.site(), keep)
    assert torch.allclose(net.reader.weight[:, keep, 0, 0].T, fit, atol=0.03)


@pytest.mark.parametrize('function', [F.silu, F.gelu, F.hardswish, F.relu6, lambda x: F.leaky_relu(x, 0.1)])
def test_repair_beats_cutting_for_any_activation(function):
    keep, x = torch.arange(5), torch.randn(2000, 5, 1, 1, dtype=torch.float64)
    net = Chain(activation=Activation('any', function))
    plain, before = copy.deepcopy(net), net(x)
    cut(plain.site(), keep)
    MomentRestoration(variance_correction=False).restore_site(net.site(), keep)
    cut(net.site(), keep)
    assert (net(x) - before).square().mean() < 0.7 * (plain(x) - before).square().mean()


def test_without_bias_and_norm_only_the_mix_is_used():
    net, keep = Chain(reader_norm=False), torch.arange(5)
    x = torch.randn(5000, 5, 1, 1, dtype=torch.float64)
    plain, before = copy.deepcopy(net), net(x)
    cut(plain.site(), keep)
    assert MomentRestoration().restore_site(net.site(), keep) == ''
    cut(net.site(), keep)
    assert (net(x) - before).square().mean() < (plain(x) - before).square().mean()


def test_images_give_the_same_algebra_on_measured_moments():
    net, keep = Chain(), torch.tensor([0, 1, 3, 4, 6])
    closure = copy.deepcopy(net)
    MomentRestoration().restore_site(closure.site(), keep)
    restorer = MomentRestoration(moments='images')
    assert restorer.needs_images and restorer.uses == 'images, no labels'
    restorer.prepare([net.site()], net, (torch.randn(1000, 5, 4, 4, dtype=torch.float64) for _ in range(4)))
    restorer.restore_site(net.site(), keep)
    for key, value in net.state_dict().items():
        assert torch.allclose(value, closure.state_dict()[key], atol=0.1), key


def test_images_must_be_given_when_asked_for():
    with pytest.raises(ValueError, match='needs images'):
        MomentRestoration(moments='images').prepare([Chain().site()])


class DepthwiseChain(nn.Module):
    """1x1 conv, BN, ReLU6, depthwise 3x3, BN, ReLU6, projection, BN."""

    def __init__(self, n=8, images=None):
        super().__init__()
        images = torch.randn(200, 4, 12, 12) if images is None else images
        self.expand, self.norm1 = nn.Conv2d(4, n, 1, bias=False), nn.BatchNorm2d(n)
        self.depthwise, self.norm2 = nn.Conv2d(n, n, 3, padding=1, groups=n, bias=False), nn.BatchNorm2d(n)
        self.project, self.norm3 = nn.Conv2d(n, 5, 1, bias=False), nn.BatchNorm2d(5)
        self.double().eval()
        for norm, layer in ((self.norm1, self.hidden1), (self.norm2, self.hidden2), (self.norm3, self.hidden3)):
            value = layer(images.double())
            set_norm(norm, value.mean(dim=(0, 2, 3)), value.var(dim=(0, 2, 3)))

    def hidden1(self, x):
        return self.expand(x)

    def hidden2(self, x):
        return self.depthwise(F.relu6(self.norm1(self.hidden1(x))))

    def hidden3(self, x):
        return self.project(F.relu6(self.norm2(self.hidden2(x))))

    def forward(self, x):
        return self.norm3(self.hidden3(x))

    def site(self):
        index = torch.arange(self.expand.out_channels)
        relu6 = Activation('relu6', F.relu6)
        chain = (
            Norm('norm1', self.norm1, index),
            relu6,
            Depthwise('depthwise', self.depthwise, index),
            Norm('norm2', self.norm2, index),
            relu6,
        )
        branch = Branch('project', self.project, index[:, None], chain, self.norm3, 'norm3')
        return Site('expand', len(index), 'expand', self.expand, index, (branch,))


def test_depthwise_blocks_are_mixed_at_the_projection():
    net, keep = DepthwiseChain(), torch.tensor([0, 2, 3, 5, 6, 7])
    x = torch.randn(100, 4, 12, 12, dtype=torch.float64)
    f = F.relu6(net.norm2(net.hidden2(x)))[..., 1:-1, 1:-1].transpose(0, 1).flatten(1)
    moments = branch_moments(net.site(), net.site().branches[0], rho=0.0)
    assert (moments.covariance - torch.cov(f)).norm() < 0.25 * torch.cov(f).norm()
    plain, before = copy.deepcopy(net), net(x)
    cut(plain.site(), keep)
    assert MomentRestoration(rho=0.0).restore_site(net.site(), keep) == ''
    cut(net.site(), keep)
    assert (net(x) - before).square().mean() < (plain(x) - before).square().mean()


def test_preactivation_branches_get_their_own_moments():
    conv = nn.Conv2d(5, 6, 1, bias=False).double()
    norms = [nn.BatchNorm2d(9).double().eval() for _ in range(2)]
    readers = [nn.Conv2d(9, 4, 1, bias=True).double() for _ in range(2)]
    index = torch.arange(3, 9)
    branches = []
    for k, (norm, reader) in enumerate(zip(norms, readers)):
        set_norm(norm, torch.zeros(9), torch.ones(9))
        branches.append(Branch(f'reader{k}', reader, index[:, None], (Norm(f'norm{k}', norm, index), RELU)))
    site = Site('conv', 6, 'conv', conv, torch.arange(6), tuple(branches))
    first, second = (branch_moments(site, b) for b in branches)
    assert not torch.allclose(first.mean, second.mean)
    untouched = readers[0].weight[:, :3].clone()
    assert MomentRestoration().restore_site(site, torch.arange(4)) == ''
    assert torch.equal(readers[0].weight[:, :3], untouched)


def test_a_linear_reader_behind_a_flatten_mixes_every_pixel_alike():
    net, keep = Chain(duplicate=True), torch.arange(7)
    reader = nn.Linear(8 * 4, 3).double()
    index = torch.arange(32).reshape(8, 4)
    branch = Branch('fc', reader, index, (*net.site().branches[0].chain, Pool('max')))
    site = Site('conv', 8, 'conv', net.conv, torch.arange(8), (branch,))
    x = torch.randn(20, 5, 2, 2, dtype=torch.float64)

    def run():
        return reader(F.relu(net.norm(net.conv(x))).flatten(1))

    before = run()
    assert MomentRestoration(lam=1e-9).restore_site(site, keep) == ''
    cut(site, keep)
    assert torch.allclose(run(), before, atol=1e-5)


def test_a_reader_of_several_sites_is_scaled_by_this_sites_share():
    net, keep = Chain(), torch.arange(4)
    wide = nn.Conv2d(16, 6, 1, bias=False).double()
    wide.weight.data[:, :8] = net.reader.weight.data
    norm = nn.BatchNorm2d(6).double().eval()
    norm.running_var.copy_(2 * net.next_norm.running_var)
    before = norm.running_var.clone()
    branch = Branch('wide', wide, torch.arange(8)[:, None], net.site().branches[0].chain, norm)
    MomentRestoration().restore_site(Site('conv', 8, 'conv', net.conv, torch.arange(8), (branch,)), keep)
    MomentRestoration().restore_site(net.site(), keep)
    alone = net.next_norm.running_var * 2 / before
    assert torch.allclose(norm.running_var / before, (1 + alone) / 2, atol=0.05)


def test_what_has_no_norm_is_named_and_left_alone():
    net = Chain()
    branch = Branch('reader', net.reader, torch.arange(8)[:, None], (RELU,), net.next_norm)
    site = Site('conv', 8, 'conv', net.conv, torch.arange(8), (branch,))
    before = state(net)
    assert 'no batch norm' in MomentRestoration().restore_site(site, torch.arange(5))
    no_producer = Site('sum', 8, branches=net.site().branches)
    assert 'several layers' in MomentRestoration().restore_site(no_producer, torch.arange(5))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'lam': 0}, '^lam: '),
        ({'rho': 2.0}, '^rho: '),
        ({'order': 0}, '^order: '),
        ({'moments': 'guess'}, '^moments: '),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MomentRestoration(**arguments)


def test_is_registered():
    assert isinstance(RESTORERS.build({'type': 'MomentRestoration'}), MomentRestoration)


def test_spatial_inputs_agree_with_sampling():
    """A 3x3 producer on inputs drawn from the assumed model: predicted covariance against sampling."""
    conv, norm, rho, count = nn.Conv2d(2, 5, 3, bias=False).double(), nn.BatchNorm2d(5).double().eval(), 0.8, 100_000
    x = oracle.gaussian_samples(torch.kron(torch.eye(2).double(), tap_correlation((3, 3), rho)), count)
    z = x @ conv.weight.detach().flatten(1).T
    set_norm(norm, torch.zeros(5), z.var(dim=0))
    reader = nn.Conv2d(5, 3, 3, bias=False).double()
    branch = Branch('reader', reader, torch.arange(5)[:, None], (Norm('norm', norm, torch.arange(5)), RELU))
    moments = branch_moments(Site('conv', 5, 'conv', conv, torch.arange(5), (branch,)), branch)
    f = F.relu(norm(z[:, :, None, None])).flatten(1)
    assert torch.all((moments.mean - f.mean(dim=0)).abs() < 5 * f.std(dim=0) / count**0.5 + 1e-3)
    assert torch.allclose(moments.covariance, torch.cov(f.T), atol=0.02 * float(f.var(dim=0).max()))


def test_padding_is_counted_when_the_map_size_is_known():
    """A constant channel is exactly replaced on average only if the missing border taps are counted."""
    net = Chain()
    net.reader = nn.Conv2d(8, 6, 3, padding=1, bias=False).double()
    x = torch.randn(400, 5, 4, 4, dtype=torch.float64)
    before = net.features(x).mean(dim=(0, 2, 3))
    keep, stored = torch.tensor([0, 1, 3, 4, 6]), net.next_norm.running_mean.clone()
    restorer = MomentRestoration(moments='closure')
    restorer.prepare([net.site()], net, [x[:2]])
    restorer.restore_site(net.site(), keep)
    cut(net.site(), keep)
    moved = net.features(x).mean(dim=(0, 2, 3)) - before
    assert torch.allclose(net.next_norm.running_mean - stored, moved, atol=0.02)


def test_noise_needs_no_data_and_leaves_statistics_that_fit():
    restorer, keep = MomentRestoration(moments='noise'), torch.tensor([0, 2, 3, 5, 6, 7])
    assert not restorer.needs_images and restorer.uses == 'no data (noise)'
    images = restorer.images_for(torch.zeros(1, 4, 12, 12), None)
    x = torch.cat(list(images))
    net = DepthwiseChain(images=x).float()
    plain, before = copy.deepcopy(net), net(x)
    cut(plain.site(), keep)
    restorer.prepare([net.site()], net, images)
    assert restorer.restore_site(net.site(), keep) == ''
    cut(net.site(), keep)
    restorer.restore_model(net, net, images)
    assert (net(x) - before).square().mean() < 0.8 * (plain(x) - before).square().mean()


def test_drift_correction_of_what_lost_nothing_is_the_identity():
    net = DepthwiseChain().float()
    restorer = MomentRestoration(moments='noise')
    images, before = restorer.images_for(torch.zeros(1, 4, 12, 12), None), state(net)
    restorer.prepare([net.site()], net, images)
    restorer.restore_model(net, net, images)
    assert all(torch.allclose(value, before[key], rtol=1e-5) for key, value in net.state_dict().items())


def test_noise_falls_back_to_the_closure_where_inputs_are_no_images():
    net, closure, keep = Chain(), Chain(), torch.arange(5)
    closure.load_state_dict(net.state_dict())
    restorer = MomentRestoration(moments='noise')
    assert restorer.images_for({'tokens': 1}, None) is None
    restorer.prepare([net.site()], net, None)
    restorer.restore_site(net.site(), keep)
    MomentRestoration().restore_site(closure.site(), keep)
    assert torch.equal(net.reader.weight, closure.reader.weight)


def test_with_noise_a_sum_of_producers_can_be_repaired():
    net, keep = DepthwiseChain().float(), torch.tensor([0, 2, 3, 5, 6, 7])
    site = Site('sum', 8, branches=net.site().branches)
    restorer = MomentRestoration(moments='noise')
    restorer.prepare([site], net, restorer.images_for(torch.zeros(1, 4, 12, 12), None))
    assert restorer.restore_site(site, keep) == ''
