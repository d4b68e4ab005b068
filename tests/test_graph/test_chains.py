"""Chains: what lies between a producer and its readers, and why some groups have none."""

import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from mmcv.cnn import ConvModule
from torch import nn

from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.site import Activation, Depthwise, Norm, Pool, Unknown
from mmprune.graph.tracing import watching
from tests.networks import NETWORKS, randomise


def sites(model, *shape, **options):
    model.eval()
    scope = Scope.of(model, torch.randn(1, *(shape or (3, 64, 64))))
    groups = find_groups(model, scope.forward, scope.example, [''], **options)
    return {group.name: group.site for group in groups if group.prunable}


def kinds(branch):
    return [
        step.name
        if isinstance(step, Activation)
        else step.kind
        if isinstance(step, Pool)
        else f'{type(step).__name__} {step.name}'
        for step in branch.chain
    ]


def test_the_inner_convs_of_a_resnet():
    found = sites(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1]))
    site = found['layer1.0.conv1']
    assert site.producer_name == 'layer1.0.conv1' and site.width == 64 and not site.problem
    assert torch.equal(site.producer_index, torch.arange(64))
    (branch,) = site.branches
    assert branch.name == 'layer1.0.conv2' and kinds(branch) == ['Norm layer1.0.bn1', 'relu']
    assert branch.next_norm_name == 'layer1.0.bn2' and branch.index.shape == (64, 1)
    (branch,) = found['layer1.0.conv2'].branches
    assert branch.name == 'layer1.0.conv3' and branch.next_norm_name == 'layer1.0.bn3'


def test_the_stem_of_a_resnet_reaches_two_readers_through_a_pooling():
    site = sites(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1]))['conv1']
    assert {branch.name for branch in site.branches} == {'layer1.0.conv1', 'layer1.0.downsample.0'}
    assert all(kinds(branch) == ['Norm bn1', 'relu', 'max'] for branch in site.branches)


def test_a_residual_stream_has_no_single_producer():
    found = sites(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [2, 1, 1, 1]))
    assert found['conv1'].problem == (
        'its channels are made by conv1 and layer1.0.conv2 and 1 more together (sum or product)'
    )
    assert found['conv1'].producer is None
    assert {branch.name: branch.chain for branch in found['conv1'].branches} == {
        name: (Unknown(name),)
        for name in ('layer1.0.conv1', 'layer1.1.conv1', 'layer2.0.conv1', 'layer2.0.downsample.0')
    }
    assert {norm.name for norm in found['conv1'].norms} == {'bn1', 'layer1.0.bn2', 'layer1.1.bn2'}
    assert [name for name, _, _ in found['conv1'].producers] == ['conv1', 'layer1.0.conv2', 'layer1.1.conv2']


def test_mobilenet_passes_its_depthwise_conv():
    site = sites(torchvision.models.mobilenet_v2())['features.2.conv.0.0']
    (branch,) = site.branches
    prefix = 'features.2.conv'
    assert kinds(branch) == [f'Norm {prefix}.0.1', 'relu6', f'Depthwise {prefix}.1.0', f'Norm {prefix}.1.1', 'relu6']
    assert branch.name == f'{prefix}.2' and branch.next_norm_name == f'{prefix}.3' and not site.problem
    assert isinstance(branch.chain[2], Depthwise) and torch.equal(branch.chain[2].index, torch.arange(96))


def test_flatten_spreads_a_channel_over_several_features():
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4, 5)
    )
    site = sites(net, 3, 4, 4)['0']
    (branch,) = site.branches
    assert kinds(branch) == ['Norm 1', 'relu', 'max']
    assert torch.equal(branch.index, torch.arange(24).reshape(6, 4)) and branch.next_norm is None
    weight = branch.read_weight()
    assert weight.shape == (6, 5, 4)
    assert torch.equal(weight[2], net[5].weight[:, 8:12].double())


def test_a_global_average_needs_no_spreading():
    site = sites(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)), 3, 8, 8
    )['0']
    assert kinds(site.branches[0]) == ['relu', 'adaptive_avg'] and site.branches[0].index.shape == (6, 1)


def test_densenet_reads_a_layer_in_many_places():
    found = sites(torchvision.models.DenseNet(growth_rate=4, block_config=(3, 2), num_init_features=8))
    site = found['features.denseblock1.denselayer1.conv2']
    assert not site.problem and site.width == 4
    assert {b.name: kinds(b) for b in site.branches} == {
        f'features.{where}': [f'Norm features.{norm}', 'relu']
        for where, norm in [
            ('denseblock1.denselayer2.conv1', 'denseblock1.denselayer2.norm1'),
            ('denseblock1.denselayer3.conv1', 'denseblock1.denselayer3.norm1'),
            ('transition1.conv', 'transition1.norm'),
        ]
    }
    assert all(torch.equal(b.index[:, 0], torch.arange(8, 12)) for b in site.branches)
    assert all(torch.equal(b.chain[0].index, torch.arange(8, 12)) for b in site.branches)


class Act(nn.Module):
    """conv, norm, an activation in some spelling, conv."""

    def __init__(self, function):
        super().__init__()
        self.conv1, self.bn, self.conv2 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)
        self.function = function

    def forward(self, x):
        return self.conv2(self.function(self.bn(self.conv1(x))))


@pytest.mark.parametrize(
    'function, name',
    [
        (F.relu, 'relu'),
        (F.silu, 'silu'),
        (lambda x: x * torch.sigmoid(x), 'silu'),
        (lambda x: torch.sigmoid(x) * x, 'silu'),
        (F.gelu, 'gelu'),
        (lambda x: F.gelu(x, approximate='tanh'), 'gelu'),
        (F.hardswish, 'hardswish'),
        (F.mish, 'mish'),
        (lambda x: F.leaky_relu(x, 0.1), 'leakyrelu'),
        (lambda x: F.leaky_relu(x, 0.3), 'leakyrelu'),
        (F.relu6, 'relu6'),
        (torch.tanh, 'tanh'),
        (F.elu, 'elu'),
        (lambda x: F.elu(x, 0.5), 'elu'),
        (nn.PReLU(), 'prelu'),
        (nn.PReLU(6), 'prelu'),
        (lambda x: F.dropout(x, 0.5, training=False).relu(), 'relu'),
        (lambda x: x.clamp(-1, 2), 'clamp'),
        (lambda x: x.clamp(min=0), 'clamp'),
        (lambda x: F.hardtanh(x, -1, 2), 'hardtanh'),
        (F.selu, 'elu'),
        (lambda x: F.celu(x, 2.0), 'celu'),
        (F.softplus, 'softplus'),
        (lambda x: x.relu().square(), None),
    ],
)
def test_activations_are_the_functions_that_run(function, name):
    net = randomise(Act(function))
    site = sites(net, 3, 8, 8)['conv1']
    if site.problem:
        assert 'unknown operation' in site.problem or 'scaled' in site.problem
        assert name in (None, 'softplus')
        return
    norm, activation = site.branches[0].chain
    assert isinstance(norm, Norm) and activation.name == name
    x = torch.randn(2, 6, 5, 5)
    unit_first = activation.function(x.transpose(0, 1)).transpose(0, 1)
    assert torch.allclose(unit_first, function(x), atol=1e-6)


@pytest.mark.parametrize(
    'function, problem',
    [
        (lambda x: x * 2, r'scaled or shifted on the way \(mul\)'),
        (lambda x: x + 1, r'scaled or shifted on the way \(add\)'),
        (lambda x: x / 3, r'scaled or shifted on the way \(div\)'),
        (torch.exp, r'unknown operation \(Exp'),
        (lambda x: x * x.mean(dim=(2, 3), keepdim=True), r'joins other tensors \(mul\)'),
        (lambda x: x + x.relu(), r'joins other tensors \(add\)'),
        (lambda x: torch.softmax(x, 2), 'unknown operation'),
    ],
)
def test_what_is_no_plain_chain_says_so(function, problem):
    site = sites(randomise(Act(function)), 3, 8, 8)['conv1']
    assert re.search(problem, site.problem), site.problem


def test_mmcv_swish_in_csp_darknet():
    found = sites(NETWORKS['mmdet CSPDarknet YOLOXPAFPN']())
    site = found['backbone.stage1.1.blocks.0.conv1.conv']
    (branch,) = site.branches
    prefix = 'backbone.stage1.1.blocks.0'
    assert kinds(branch) == [f'Norm {prefix}.conv1.bn', 'silu'] and branch.name == f'{prefix}.conv2.conv'
    assert found['backbone.stage4.1.conv1.conv'].problem == 'reaches backbone.stage4.1.conv2.conv on several ways'


def test_leaky_relu_in_darknet():
    block = ConvModule(3, 8, 3, norm_cfg=dict(type='BN'), act_cfg=dict(type='LeakyReLU', negative_slope=0.1))
    site = sites(nn.Sequential(block, nn.Conv2d(8, 4, 1)), 3, 8, 8)['0.conv']
    activation = site.branches[0].chain[1]
    assert activation.name == 'leakyrelu'
    assert torch.allclose(activation.function(torch.tensor([-1.0, 2.0])), torch.tensor([-0.1, 2.0]))


def test_squeeze_and_excitation():
    found = sites(torchvision.models.efficientnet_b0())
    inner = found['features.2.0.block.2.fc1']
    assert not inner.problem and kinds(inner.branches[0]) == ['silu'] and inner.branches[0].name.endswith('fc2')
    gated = found['features.2.0.block.0.0']
    assert gated.problem == (
        'its channels are made by features.2.0.block.0.0 and features.2.0.block.2.fc2 together (sum or product)'
    )


def test_grouped_convs_are_bundles():
    found = sites(
        torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], groups=32, width_per_group=4)
    )
    assert found['layer1.0.conv1'].problem == 'its units are bundles of channels (grouped conv)'
    assert found['layer1.0.conv1'].width == 4


def test_transposed_convs_are_not_read_as_ordinary_ones():
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 5, 2, stride=2), nn.ReLU(), nn.Conv2d(5, 4, 1)
    )
    found = sites(net, 3, 8, 8)
    assert found['0'].problem == found['2'].problem == '2 is a grouped or transposed conv'


def test_tokens_through_a_transformers_mlp():
    net = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 12), nn.GELU(), nn.Dropout(0.1), nn.Linear(12, 8))
    site = sites(net, 5, 8)['1']
    (branch,) = site.branches
    assert kinds(branch) == ['gelu'] and branch.name == '4' and branch.index.shape == (12, 1)


def test_chains_compute_what_the_network_computes():
    net = randomise(torchvision.models.mobilenet_v2())
    site = sites(net)['features.2.conv.0.0']
    branch, seen = site.branches[0], {}
    start = watching([site.producer], lambda module, args, out: seen.update(start=out))
    end = watching([branch.module], lambda module, args: seen.update(end=args[0]), before=True)
    with torch.no_grad(), start, end:
        net(torch.randn(1, 3, 64, 64))
        x = seen['start']
        for step in branch.chain:
            x = step.function(x) if isinstance(step, Activation) else step.module(x)
    assert torch.allclose(x, seen['end'], atol=1e-5)
