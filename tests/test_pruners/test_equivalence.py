"""A sliced network computes what the dense one does with the same channels silent behind their norm."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmprune.checkpoint.record import structure_of
from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.surgery.structure import Structure
from tests.networks import NETWORKS, randomise
from tests.oracles.zeroing import distance, outputs, zeroed_copy

#: Big networks without an architecture of their own to show.
SLOW = (
    'torchvision VGG-16-BN',
    'torchvision ConvNeXt',
    'torchvision ShuffleNetV2',
    'torchvision RegNetY',
    'mmdet SSDVGG',
    'mmpretrain ResNet-50',
    'mmpretrain ResNeXt',
    'mmpretrain SEResNet',
    'mmpretrain RegNetX',
    'mmpretrain EfficientNet-B0',
    'mmpretrain MobileNetV2',
    'mmpretrain VGG-16',
)
#: How many groups must be cut at least, and what is known to be kept besides outputs.
CUT = {
    'torchvision ResNet-18': 12,
    'torchvision ResNet-50': 37,
    'torchvision VGG-16-BN': 15,
    'CIFAR ResNet-56': 30,
    'CIFAR ResNet-20 option A': 9,
    'torchvision MobileNetV2': 25,
    'torchvision DenseNet': 16,
    'CIFAR DenseNet': 39,
    'mmdet CSPDarknet YOLOXPAFPN': 43,
    'mmdet CSPNeXt PAFPN': 33,
    'mmdet SSDVGG SSDNeck': 15,
    'mmdet Darknet-53 YOLOV3Neck': 43,
    'mmdet MobileNetV2 YOLOV3Neck': 37,
    'mmdet ResNet-50 FPN': 37,
    'mmpretrain Swin': 5,
    'mmdet Swin': 4,
    'torchvision ConvNeXt': 18,
    'torchvision EfficientNet-B0': 40,
    'torchvision RegNetY': 53,
    'torchvision ResNeXt': 13,
    'torchvision GoogLeNet': 57,
    'mmpretrain ViT': 2,
}
KEPT = {
    'CIFAR ResNet-20 option A': 'a shortcut pads its channels with zeros (option A)',
    'torchvision ShuffleNetV2': 'is cut into parts of fixed size',
    'mmpretrain ShuffleNetV2': 'is cut into parts of fixed size',
    'mmdet Res2Net': 'is cut into parts of fixed size',
    'torchvision ConvNeXt': 'mixes statistics of all channels',
    'mmpretrain ConvNeXt': 'mixes statistics of all channels',
    'mmdet Swin': 'mixes statistics of all channels',
    'mmpretrain Swin': 'coupled to the free parameter stages.0.blocks.0.attn.w_msa.relative_position_bias_table',
    'mmpretrain ViT': 'the traced coupling is wrong: layers.0.attn.proj has 48 channels',
    'mmdet SSDVGG SSDNeck': 'coupled to the free parameter neck.l2_norm.weight',
}


def example(name):
    side = 32 if 'CIFAR' in name else 64
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(7))


def cut(model, images, target='', ratio=0.4, **options):
    pruner = ChannelPruner('Random', dict(type='Uniform', ratio=ratio), **options)
    plan = pruner.plan(Scope.of(model, images, target))
    plan.apply()
    return plan


def check(dense, model, images, tolerance=1e-5):
    """The oracle's verdict, and that it had something to judge."""
    structure = structure_of(model).to_json()
    judge = zeroed_copy(dense, structure)
    expected, got = outputs(judge, images), outputs(model, images)
    assert distance(expected, got) <= tolerance
    assert distance(outputs(dense, images), expected) > 1e-3, 'nothing that matters was cut'
    check_attributes(model)
    reloaded = copy.deepcopy(dense)
    Structure.from_json(structure).apply(reloaded)
    reloaded.load_state_dict(model.state_dict())
    check_attributes(reloaded)
    assert distance(got, outputs(reloaded, images)) == 0
    Structure.from_json(structure).apply(reloaded)  # once more changes nothing
    assert distance(got, outputs(reloaded, images)) == 0


def check_attributes(model):
    for module in model.modules():
        if isinstance(module, _ConvNd):
            shape = (module.in_channels // module.groups, module.out_channels)
            assert tuple(module.weight.shape[:2]) == (shape if module.transposed else shape[::-1])
            assert module.bias is None or len(module.bias) == module.out_channels
        elif isinstance(module, nn.Linear):
            assert tuple(module.weight.shape) == (module.out_features, module.in_features)
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert len(module.weight) == len(module.running_mean) == module.num_features
        elif type(module).__name__ == 'ConvModule':
            conv = module.conv
            assert (module.in_channels, module.out_channels, module.groups) == (
                conv.in_channels,
                conv.out_channels,
                conv.groups,
            )


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETWORKS]
)
def test_sliced_equals_zeroed(name):
    dense, images = randomise(NETWORKS[name]()), example(name)
    model = copy.deepcopy(dense)
    identities = {key: id(value) for key, value in model.named_parameters()}
    targets = ['backbone', 'neck'] if 'neck' in dict(model.named_children()) else ''
    plan = cut(model, images, targets, prune_interface=True)
    check(dense, model, images)
    assert {key: id(value) for key, value in model.named_parameters()} == identities
    assert len(plan.keeps) >= CUT.get(name, 1)
    reasons = [row.reason for row in plan.rows if row.name not in plan.keeps]
    assert any(KEPT.get(name, 'output') in reason for reason in reasons), reasons
