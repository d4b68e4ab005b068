"""Groups: what goes together, what stays and why, and that looking changes nothing."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from mmprune.errors import ConfigError
from mmprune.graph.find import find_groups
from mmprune.graph.patterns import matches
from mmprune.graph.scope import Scope
from mmprune.graph.verify import refuse_wrong_groups
from mmprune.measure.complexity import measure
from mmprune.pruners import ChannelPruner
from tests.networks import NETWORKS, Detector, mmdet, ours, randomise
from tests.oracles.masked_readers import masked_readers, record_of
from tests.oracles.zeroing import distance, outputs, zeroed_copy


def groups_of(model, *shape, target='', **options):
    model.eval()
    scope = Scope.of(model, torch.randn(2, *(shape or (3, 64, 64))), target)
    groups = find_groups(model, scope.forward, scope.example, scope.targets, **options)
    refuse_wrong_groups(model, scope.forward, scope.probe_input(), groups)
    return {group.name: group for group in groups}


def reasons(groups):
    return {name: group.reason for name, group in groups.items() if group.reason}


def frozen_resnet(depth=50, **options):
    neck = dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=32, num_outs=5)
    return mmdet(type='ResNet', depth=depth, frozen_stages=1, norm_eval=True, neck=neck, **options)


def test_groups_come_in_forward_order_and_name_all_members():
    groups = groups_of(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1]))
    assert list(groups)[:4] == ['conv1', 'layer1.0.conv1', 'layer1.0.conv2', 'layer1.0.conv3']
    group = groups['layer1.0.conv3']
    assert [m.name for m in group.producers] == ['layer1.0.conv3', 'layer1.0.downsample.0']
    assert {m.name for m in group.norms} == {'layer1.0.bn3', 'layer1.0.downsample.1'}
    assert {m.name for m in group.readers} == {'layer2.0.conv1', 'layer2.0.downsample.0'}
    assert group.width == 256 and group.prunable
    assert reasons(groups) == {'fc': 'is an output of the network'}
    assert [rows.shape for rows in group.weights()] == [(256, 64), (256, 64)] and group.biases() == [None, None]


def test_frozen_stages_are_seen_and_flags_put_back():
    model = frozen_resnet()
    model.backbone.train()
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    modes = {name: m.training for name, m in model.named_modules()}
    assert not flags['backbone.layer1.0.conv1.weight'] and not modes['backbone.layer1.0.bn1']
    scope = Scope.of(model, torch.randn(1, 3, 64, 64), 'backbone')
    plan = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.29)).plan(scope)
    plan.apply()
    assert {'backbone.conv1', 'backbone.layer1.0.conv1', 'backbone.layer1.2.conv2'} <= set(plan.keeps)
    assert flags == {name: p.requires_grad for name, p in model.named_parameters()}
    assert modes == {name: m.training for name, m in model.named_modules()}
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_the_flops_of_a_frozen_backbone():
    """Ratio 0.29 everywhere leaves 50.5 %; where frozen stages are not seen it leaves 60.7 %."""
    model = frozen_resnet()
    scope = Scope.of(model, torch.zeros(1, 3, 224, 224), 'backbone')
    dense = measure(scope).target_flops
    pruner = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.29), prune_interface=True)
    pruner.plan(Scope.of(model, torch.zeros(1, 3, 64, 64), 'backbone')).apply()
    assert measure(scope).target_flops / dense == pytest.approx(0.505, abs=0.005)


def test_interfaces_stay_unless_told():
    model = mmdet(
        type='ResNet', depth=18, neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=16, num_outs=4)
    )
    stages = {'backbone.conv1', *(f'backbone.layer{k}.0.conv2' for k in (2, 3, 4))}
    kept = reasons(groups_of(model, target='backbone'))
    assert set(kept) == stages and set(kept.values()) == {'feeds what follows the target (prune_interface=False)'}
    assert not reasons(groups_of(model, target='backbone', prune_interface=True))
    both = groups_of(model, target=['backbone', 'neck'])
    laterals = {'neck.lateral_convs.0.conv', *(f'neck.fpn_convs.{k}.conv' for k in range(4))}
    assert set(reasons(both)) == laterals - {'neck.lateral_convs.0.conv'}
    assert set(both) >= stages | laterals
    assert set(reasons(groups_of(model))) == set(reasons(both))


def test_cutting_the_interface_cuts_the_neck_and_leaves_its_outputs():
    model = randomise(
        mmdet(
            type='ResNet',
            depth=18,
            neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=16, num_outs=4),
        )
    )
    dense, images = copy.deepcopy(model), torch.randn(2, 3, 64, 64)
    pruner = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5), prune_interface=True)
    pruner.plan(Scope.of(model, images, 'backbone')).apply()
    assert model.neck.lateral_convs[0].conv.in_channels == 32 and model.neck.fpn_convs[0].conv.out_channels == 16
    judge = zeroed_copy(dense, model._mmprune_structure.to_json())
    assert distance(outputs(judge, images), outputs(model, images)) <= 1e-5


def test_checkpointed_blocks_are_seen():
    plain, checkpointed = (mmdet(type='ResNet', depth=18, with_cp=flag) for flag in (False, True))
    with_cp = [m for m in checkpointed.modules() if getattr(m, 'with_cp', False)]
    assert len(with_cp) == 9
    assert list(groups_of(plain, target='backbone')) == list(groups_of(checkpointed, target='backbone'))
    assert all(m.with_cp for m in with_cp)


def test_option_a_shortcuts_are_kept_whole_and_inner_convs_go():
    model = NETWORKS['CIFAR ResNet-20 option A']()
    groups = groups_of(model, 3, 32, 32)
    assert reasons(groups) == {
        'backbone.conv1': 'a shortcut pads its channels with zeros (option A)',
        'head': 'is an output of the network',
    }
    assert {m.name for m in groups['backbone.conv1'].producers} >= {'backbone.conv1', 'backbone.layer3.2.conv2'}
    assert sum(group.prunable for group in groups.values()) == 9


class Ways(nn.Module):
    """conv1 → something with channels → conv2."""

    def __init__(self, between, width=12, out=12):
        super().__init__()
        self.conv1, self.conv2, self.between = nn.Conv2d(3, width, 3), nn.Conv2d(out, 4, 1), between

    def forward(self, x):
        return self.conv2(self.between(self.conv1(x)))


def shuffle(x):
    n, c, h, w = x.shape
    return x.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)


CUT = 'is cut into parts of fixed size on the way (split, chunk or slice)'


@pytest.mark.parametrize(
    'between, out, reason',
    [
        (lambda x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1].sigmoid(), 6, CUT),
        (lambda x: torch.cat(torch.split(x, [4, 8], 1)[::-1], 1), 12, CUT),
        (lambda x: x[:, 3:], 9, CUT),
        (lambda x: nn.functional.pad(x, (0, 0, 0, 0, 2, 2)), 16, 'a shortcut pads its channels with zeros (option A)'),
        (shuffle, 12, 'does not run with fewer channels'),
        (lambda x: x.flip(1), 12, 'the traced coupling is wrong'),
        (lambda x: x.softmax(1), 12, 'its channels are mixed on the way to conv2'),
        (lambda x: x.sigmoid(), 12, ''),
        (nn.PixelShuffle(2), 3, 'the traced coupling is wrong: conv2 has 3 channels'),
        (nn.GroupNorm(3, 12), 12, 'mixes statistics of several channels'),
        (nn.LayerNorm([12, 6, 6]), 12, 'mixes statistics of all channels'),
        (nn.InstanceNorm2d(12, affine=True), 12, ''),
        (nn.SyncBatchNorm(12), 12, ''),
        (nn.BatchNorm2d(12, affine=False), 12, ''),
        (nn.BatchNorm2d(12, track_running_stats=False), 12, ''),
        (nn.Conv2d(12, 12, 3, groups=12), 12, ''),
        (nn.Conv2d(12, 24, 3, groups=12), 24, None),
        (nn.Conv2d(12, 6, 3, groups=3), 6, ''),
        (nn.Conv2d(12, 12, 3, groups=2), 12, ''),
        (nn.ConvTranspose2d(12, 12, 2, stride=2), 12, ''),
        (nn.ConvTranspose2d(12, 12, 2, stride=2, groups=3), 12, None),
        (nn.PReLU(12), 12, ''),
        (nn.PReLU(), 12, ''),
        (lambda x: torch.cat([x, x], 1), 24, ''),
        (lambda x: torch.cat([x, x.relu()], 1), 24, ''),
        (lambda x: x[:, :, 1:, ::2], 12, ''),
        (lambda x: nn.functional.pad(x, (1, 1, 1, 1)), 12, ''),
    ],
)
def test_operations_between_convs(between, out, reason):
    """What can be cut is cut right; what cannot says why. ``None``: either is fine, as long as it is right."""
    model = randomise(Ways(between, out=out))
    images = torch.randn(2, 3, 8, 8)
    dense, groups = copy.deepcopy(model), groups_of(model, 3, 8, 8)
    if reason:
        assert reason in groups['conv1'].reason
        return
    if reason == '':
        assert groups['conv1'].prunable, groups['conv1'].reason
    if not any(group.prunable for group in groups.values()):
        return
    pruner = ChannelPruner('Random', dict(type='Uniform', ratio=0.5))
    pruner.plan(Scope.of(model, images)).apply()
    with masked_readers(dense, record_of(model)) as judge:
        assert distance(outputs(judge, images), outputs(model, images)) <= 1e-5


def test_one_hopeless_group_does_not_spoil_the_others():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Ways(shuffle)).eval()
    model[2].conv1 = nn.Conv2d(8, 12, 3)
    groups = groups_of(model, 3, 8, 8)
    assert groups['0'].prunable and '2 (Ways) does not run with fewer channels' in groups['2.conv1'].reason


def test_what_does_not_run_is_not_there():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3))
    model.register_module('unused', nn.Conv2d(3, 3, 3))
    model.forward = lambda x: model[1](model[0](x))
    assert set(groups_of(model, 3, 8, 8)) == {'0', '1'}


def test_a_layer_that_runs_for_nothing_keeps_its_input_whole():
    class Net(Ways):
        def forward(self, x):
            x = self.conv1(x)
            self.extra(x)
            return self.conv2(x)

    model = Net(None)
    model.extra = nn.Conv2d(12, 3, 1)
    reason = groups_of(model, 3, 8, 8)['conv1'].reason
    assert reason.startswith('extra (Conv2d) does not run with fewer channels')


def test_a_layer_used_twice_is_cut_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.shared, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return self.head(self.shared(self.shared(self.stem(x)).relu()).relu())

    model = randomise(Twice())
    dense, images = copy.deepcopy(model), torch.randn(2, 3, 8, 8)
    groups = groups_of(model, 3, 8, 8)
    if any(group.prunable for group in groups.values()):
        ChannelPruner('Random', dict(type='Uniform', ratio=0.5)).plan(Scope.of(model, images)).apply()
        judge = zeroed_copy(dense, model._mmprune_structure.to_json())
        assert distance(outputs(judge, images), outputs(model, images)) <= 1e-5


def test_outputs_inside_dicts_and_tuples_are_outputs():
    class Net(Ways):
        def forward(self, x):
            x = self.conv1(x)
            return dict(a=(x, None), b=[self.conv2(x), 'text', torch.tensor(1)])

    assert reasons(groups_of(Net(None), 3, 8, 8)) == dict.fromkeys(['conv1', 'conv2'], 'is an output of the network')


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_a_network_that_autograd_does_not_see(mode):
    class Net(Ways):
        @mode()
        def forward(self, x):
            return super().forward(x)

    scope, pruner = (
        Scope.of(Net(nn.ReLU()), torch.randn(1, 3, 8, 8)),
        ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)),
    )
    if mode is torch.no_grad:
        assert any(row.after < row.before for row in pruner.plan(scope).rows)
    else:
        with pytest.raises(ConfigError, match=r'^model: its forward runs under torch\.inference_mode'):
            pruner.plan(scope)


def test_a_coupling_across_the_targets_border():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return self.c(self.a(x) + self.b(x))

    for interface in (False, True):
        groups = groups_of(Net(), 3, 8, 8, target=['a', 'c'], prune_interface=interface)
        assert groups['a'].reason == 'coupled to b, which is outside the target'


def test_patterns():
    assert matches('backbone.layer1.0.conv1', ['*.conv2', 'layer1.*'], ['backbone']) == 'layer1.*'
    assert matches('backbone.layer1.0.conv1', ['layer1.*'], ['']) is None
    with pytest.raises(ConfigError, match=r"^keep: the pattern 'x' matches no module; names are like a, b"):
        model = nn.Sequential()
        model.a, model.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        find_groups(model, model, torch.randn(1, 3, 4, 4), [''], keep_patterns=['x'])


def test_detectors_are_traced_up_to_their_heads():
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict

    register_all_modules(init_default_scope=False)
    cfg = dict(
        type='RetinaNet',
        data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
        backbone=dict(type='ResNet', depth=18, frozen_stages=1, norm_eval=True),
        neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=32, num_outs=5),
        bbox_head=dict(
            type='RetinaHead',
            num_classes=3,
            in_channels=32,
            feat_channels=32,
            stacked_convs=1,
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=4,
                scales_per_octave=3,
                ratios=[1.0],
                strides=[4, 8, 16, 32, 64],
            ),
        ),
    )
    model = MODELS.build(ConfigDict(cfg))
    groups = groups_of(model, target='')
    assert not any(name.startswith('bbox_head') for name in groups)
    assert {name for name, why in reasons(groups).items() if why == 'is an output of the network'} == {
        f'neck.fpn_convs.{k}.conv' for k in range(4)
    }
    with pytest.raises(ConfigError, match='target: nothing in data_preprocessor can be pruned'):
        ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)).plan(
            Scope.of(model, torch.randn(1, 3, 64, 64), 'data_preprocessor')
        )


def test_ours_without_a_head():
    groups = groups_of(Detector(ours(type='CIFARResNet', depth=20, shortcut='conv1x1')), 3, 32, 32, target='backbone')
    assert sum(group.prunable for group in groups.values()) == 11
