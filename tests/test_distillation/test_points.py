"""Supervision points are found where DFBF's name rules put them, and on networks that no rule knows."""

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import nn

import mmprune
from mmprune.distillation import FeatureLoss, Part, find_points
from mmprune.errors import ConfigError
from tests.networks import NETWORKS, mmdet, ours, randomise

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def cut(
    model: nn.Module, keep: Sequence[str] = (), target: str = '', size: int = 64
) -> tuple[Part, Part, torch.Tensor]:
    """Student, teacher and an example."""
    randomise(model)
    teacher, example = copy.deepcopy(model), torch.randn(1, 3, size, size)
    mmprune.prune(
        model,
        example,
        target,
        restorer=None,
        pruner=dict(type='ChannelPruner', keep=keep, allocator=dict(type='Uniform', ratio=0.3)),
    )
    return Part.of(model, [target]), Part.of(teacher, [target]), example


def names(student: Part, teacher: Part, example: torch.Tensor, **options: object) -> list[str]:
    return [point.name for point in find_points(student, teacher, example, **options)]


def blocks(depth: int, prefix: str = '') -> list[str]:
    return [f'{prefix}layer{stage}.{block}' for stage, count in enumerate(BLOCKS[depth], 1) for block in range(count)]


@pytest.mark.parametrize('depth', [18, 34])
def test_basic_blocks(depth: int) -> None:
    model = ours(type='WideCIFARResNet', depth=depth, stem_pool=True, base_channels=8)
    assert names(*cut(model, ['conv1', '*.conv2', '*.downsample*'], size=32)) == blocks(depth)


def test_bottlenecks_of_a_frozen_detector_backbone() -> None:
    model = NETWORKS['mmdet ResNet-50 FPN']()
    found = cut(model, ['conv1', '*.conv3', '*.downsample*'], 'backbone')
    assert names(*found) == blocks(50, 'backbone.')
    assert names(*found, which='output') == ['backbone']
    every_second = blocks(50, 'backbone.')[::2] + ['backbone.layer4.2']
    assert names(*found, which='every_second') == every_second


def test_blocks_that_begin_with_their_relu_are_compared_behind_it() -> None:
    model = ours(type='CIFARResNet', depth=20, shortcut='conv1x1', pre_relu=True, base_channels=4)
    assert names(*cut(model, ['conv1', '*.conv2', '*.downsample*'], size=16)) == [
        *(
            f'layer{stage}.{block}.relu_in'
            for stage, block in ((1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2))
        ),
        'relu_out',
    ]


@pytest.mark.parametrize('depth, whole', [(16, (0, 3, 10, 20, 30, 40)), (19, (0, 3, 10, 23, 36, 49))])
@pytest.mark.parametrize('kind', ['CIFARVGG', 'VGGBN'])
def test_vgg(kind: str, depth: int, whole: Sequence[int]) -> None:
    widths = [
        max(4, width // 16)
        for width in (64,) * 2 + (128,) * 2 + (256,) * (3 if depth == 16 else 4) + (512,) * (6 if depth == 16 else 8)
    ]
    found = cut(ours(type=kind, depth=depth, widths=widths), [f'features.{conv}' for conv in whole], size=32)
    assert names(*found) == [f'features.{conv + 2}' for conv in whole[2:]]
    assert names(*found, include_untouched=True) == [f'features.{conv + 2}' for conv in whole]


RESIDUAL = ['conv1', '*.conv2', '*.downsample*']
OTHERS = {
    'torchvision ResNet-18': dict(keep=RESIDUAL),
    'mmdet ResNet-50 FPN': dict(keep=['conv1', '*.conv3', '*.downsample*'], target='backbone'),
    'mmdet CSPDarknet YOLOXPAFPN': dict(target='backbone'),
    'mmdet CSPNeXt PAFPN': dict(target='backbone'),
    'mmdet SSDVGG': dict(target='backbone', size=300),
    'torchvision MobileNetV2': dict(keep=['*.conv.2', 'features.0*', 'features.1.conv.1', 'features.18*']),
    'torchvision DenseNet': dict(keep=['*conv0', '*.conv2', '*transition*']),
    'mmpretrain SEResNet': dict(),
    'torchvision EfficientNet-B0': dict(),
    'mmdet HRNet': dict(target='backbone'),
}


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.slow if 'SSD' in name else ()) for name in OTHERS]
)
def test_other_networks_have_points_and_no_loss_against_themselves(name: str) -> None:
    student, teacher, example = cut(NETWORKS[name](), **OTHERS[name])
    points = find_points(student, teacher, example)
    assert points and all(student.model.get_submodule(point.name) is not None for point in points)
    whole, reduced = (
        {
            point.name: [t.shape for t in found]
            for point, found in zip(points, part.outputs_of([p.name for p in points], example))
        }
        for part in (teacher, student)
    )
    assert whole == reduced  # nowhere a tensor that lost channels

    def loss(part: Part) -> float:
        terms = FeatureLoss(part, teacher.freeze(), points, [1.0] * len(points), nn.functional.l1_loss)(example)
        return float(sum(terms.values()))

    student.model.eval()
    assert loss(Part(copy.deepcopy(teacher.model), teacher.names)) == 0
    assert loss(student) > 0


def test_expected_numbers_of_points() -> None:
    count = {
        name: len(names(*cut(NETWORKS[name](), **OTHERS[name])))
        for name in ('torchvision ResNet-18', 'torchvision MobileNetV2', 'torchvision DenseNet')
    }
    # 8 blocks; 16 expanded blocks and the network's output; 7 dense layers and the output
    assert count == {'torchvision ResNet-18': 9, 'torchvision MobileNetV2': 17, 'torchvision DenseNet': 8}


def test_swish_written_as_a_product_belongs_to_its_layer() -> None:
    backbone = dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125, act_cfg=dict(type='Swish'))
    found = cut(mmdet(**backbone), target='backbone')
    for name in names(*found):
        outputs = found[0].outputs_of([name], found[2])[0][-1]
        assert outputs.min() > -0.28  # Swish's minimum; batch norms go lower


def test_chosen_points() -> None:
    found = cut(NETWORKS['torchvision ResNet-18'](), RESIDUAL)
    assert names(*found, points=['layer4.?', 'layer1.0.bn2']) == ['layer1.0.bn2', 'layer4.0', 'layer4.1']
    with pytest.raises(ConfigError, match=r"^points: .*'layer9'"):
        names(*found, points=['layer9'])
    with pytest.raises(ConfigError, match=r'^points: .*relu'):
        names(*found, points=['layer1.0.relu'])  # called twice
