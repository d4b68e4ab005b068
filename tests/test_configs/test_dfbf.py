"""The DFBF configs cut and compare what is published."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import mmprune
from mmprune.distillation import Part, find_points
from mmprune.engine import prepare_config
from mmprune.registry import DISTILLATIONS, MODELS, build_part

CONFIGS = Path(__file__).parents[2] / 'configs' / 'dfbf'
RESNET18 = {'layer1': 52, 'layer2': 103, 'layer3': 128, 'layer4': 180}
VGG16 = [64, 64, 103, 128, 128, 128, 256, 180, 180, 512, 180, 180, 512]
VGG19 = [64, 64, 103, 128, 128, 128, 128, 256, 180, 180, 180, 512, 180, 180, 180, 512]


def pruned(name: str, ratio: float | None = None) -> tuple[nn.Module, nn.Module, Config]:
    """Student and teacher of a config, with the weights of a fresh network."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    student, teacher = (MODELS.build(cfg.model) for _ in range(2))
    student.load_state_dict(teacher.state_dict())
    settings = cfg.pruning
    if ratio is not None:
        settings.pruner.allocator.ratio = ratio
    mmprune.prune(student, torch.zeros(1, 3, 32, 32), settings.target, settings.pruner, restorer=None)
    return student, teacher, cfg


def conv_widths(backbone: nn.Module) -> list[int]:
    return [module.out_channels for module in backbone.features if isinstance(module, nn.Conv2d)]


def points_of(student: nn.Module, teacher: nn.Module, cfg: Config) -> list[str]:
    settings = build_part(DISTILLATIONS, cfg.pruning.distillation, 'pruning.distillation')
    found = find_points(
        Part.of(student, ['backbone']),
        Part.of(teacher, ['backbone']),
        torch.randn(1, 3, 64, 64),
        settings.points,
        settings.which,
        settings.include_untouched,
    )
    return [point.name.removeprefix('backbone.') for point in found]


@pytest.mark.parametrize('depth', [18, pytest.param(34, marks=pytest.mark.slow)])
def test_resnet(depth: int) -> None:
    student, teacher, cfg = pruned(f'resnet{depth}_dfbf-l2-r50_cifar10')
    stages = {name: getattr(student.backbone, name) for name in RESNET18}
    for name, stage in stages.items():
        for block in stage:
            assert (block.conv1.out_channels, block.conv2.in_channels) == (RESNET18[name],) * 2
            assert block.conv2.out_channels == {'layer1': 64, 'layer2': 128, 'layer3': 256, 'layer4': 512}[name]
    blocks = [f'{name}.{i}' for name, stage in stages.items() for i in range(len(stage))]
    assert points_of(student, teacher, cfg) == blocks and len(blocks) == {18: 8, 34: 16}[depth]


@pytest.mark.parametrize(
    'name, widths, points',
    [
        ('vgg16_dfbf-l2-r50_cifar10', VGG16, (2, 5, 12, 22, 32, 42)),
        pytest.param('vgg19_dfbf-l2-r50_cifar10', VGG19, (2, 5, 12, 25, 38, 51), marks=pytest.mark.slow),
    ],
)
def test_vgg(name: str, widths: list[int], points: tuple[int, ...]) -> None:
    student, teacher, cfg = pruned(name)
    assert conv_widths(student.backbone) == widths
    assert points_of(student, teacher, cfg) == [f'features.{index}' for index in points]


@pytest.mark.slow
@pytest.mark.parametrize('ratio, widths', [(0.1, (62, 123, 231, 446)), (0.5, (52, 103, 128, 180))])
def test_faster_rcnn_resnet(ratio: float, widths: tuple[int, ...]) -> None:
    student, teacher, cfg = pruned('faster-rcnn_r50_fpn_dfbf-l2-r10_coco', ratio)
    blocks = []
    for index, width in enumerate(widths, 1):
        for number, block in enumerate(getattr(student.backbone, f'layer{index}')):
            assert block.conv1.out_channels == block.conv2.out_channels == block.conv3.in_channels == width
            blocks.append(f'layer{index}.{number}')
    assert points_of(student, teacher, cfg) == blocks and len(blocks) == 16


@pytest.mark.slow
@pytest.mark.parametrize('depth, widths, points', [(16, VGG16, (12, 22, 32, 42)), (19, VGG19, (12, 25, 38, 51))])
def test_faster_rcnn_vgg(depth: int, widths: list[int], points: tuple[int, ...]) -> None:
    student, teacher, cfg = pruned(f'faster-rcnn_vgg{depth}-bn_fpn_dfbf-l2-r10_voc0712', 0.5)
    assert conv_widths(student.backbone) == widths
    assert points_of(student, teacher, cfg) == [f'features.{index}' for index in points]
    assert [tuple(x.shape[1:]) for x in student.extract_feat(torch.randn(1, 3, 64, 64))] == [
        (256, 16, 16),
        (256, 8, 8),
        (256, 4, 4),
        (256, 4, 4),
        (256, 2, 2),
    ]


#: epochs, milestone, weight method, images as batches, optimiser's weight decay
PUBLISHED = {
    'resnet18_dfbf-l2-r50_cifar10': (200, 150, 0, (12800, 256)),
    'resnet34_dfbf-l2-r50_cifar10': (200, 150, 0, (12800, 256)),
    'vgg16_dfbf-l2-r50_cifar10': (200, 150, 0, (12800, 256)),
    'vgg19_dfbf-l2-r50_cifar10': (200, 150, 0, (12800, 256)),
    'faster-rcnn_r50_fpn_dfbf-l2-r10_coco': (5, 3, 2, (1600, 16)),
    'faster-rcnn_vgg16-bn_fpn_dfbf-l2-r10_coco': (65, 60, 5, (1600, 16)),
    'faster-rcnn_r50_fpn_dfbf-l2-r10_voc0712': (10, 7, 2, (1600, 16)),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_settings(name: str) -> None:
    cfg = prepare_config(Config.fromfile(CONFIGS / f'{name}.py'))
    epochs, milestone, method, (images, batch) = PUBLISHED[name]
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    optimizer = cfg.optim_wrapper.optimizer
    assert cfg.train_cfg.max_epochs == epochs
    assert [scheduler.milestones for scheduler in schedulers] == [[milestone]]
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.01, 0.9, 5e-4)
    assert cfg.pruning.distillation.weights == method and cfg.pruning.distillation.criterion == 'l1'
    loader = cfg.train_dataloader
    assert loader.dataset.type == 'mmprune.SyntheticImages'
    assert (loader.dataset.num_images, loader.batch_size) == (images, batch)
    assert cfg.pruning.images.batch_size == batch
    assert cfg.pruning.pruner.criterion == 'SquaredSum' and cfg.pruning.pruner.order == 'sequential'
    assert len(loader.dataset.metainfo.classes) == {'cifar10': 10, 'coco': 80, 'voc0712': 20}[name.rpartition('_')[2]]


@pytest.mark.parametrize('name', ['resnet18_dfbf-l2-r50_cifar100', 'vgg16_dfbf-l2-r50_cifar100'])
def test_cifar100(name: str) -> None:
    cfg = prepare_config(Config.fromfile(CONFIGS / f'{name}.py'))
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == 100
    assert cfg.test_dataloader.dataset.type == 'CIFAR100'
    assert len(cfg.train_dataloader.dataset.metainfo.classes) == 100
    assert (cfg.pruning.images.lr_schedule, cfg.pruning.images.l2_norm) == ('constant', 'image')


def test_an_option_may_replace_what_the_config_does_not_have() -> None:
    cfg = Config.fromfile(CONFIGS / 'resnet56_dfbf-l2-r50_cifar10.py')
    del cfg.pruning['restorer']
    cfg.merge_from_dict({'pruning.restorer._delete_': True, 'pruning.restorer.type': 'MomentRestoration'})
    assert prepare_config(cfg).pruning.restorer == dict(type='MomentRestoration')
