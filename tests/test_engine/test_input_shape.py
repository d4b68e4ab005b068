"""Without a word on sizes, networks are looked at in the size that their own test pipelines give them."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmprune.engine.input_shape import input_shape_of
from mmprune.images.calibration import calibration_batches
from tests.test_engine import tiny

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize(
    ('base', 'shape'),
    [
        ('mmdet::yolox/yolox_s_8xb8-300e_coco.py', (3, 640, 640)),
        ('mmdet::yolox/yolox_tiny_8xb8-300e_coco.py', (3, 416, 416)),
        ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', (3, 800, 1344)),
        ('mmdet::ssd/ssd300_coco.py', (3, 300, 300)),
        ('mmdet::ssd/ssd512_coco.py', (3, 512, 512)),
        ('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', (3, 640, 640)),
        ('mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py', (3, 320, 320)),
        ('mmdet::pascal_voc/ssd300_voc0712.py', (3, 300, 300)),
        ('mmpretrain::resnet/resnet50_8xb32_in1k.py', (3, 224, 224)),
        ('mmpretrain::efficientnet/efficientnet-b3_8xb32_in1k.py', (3, 300, 300)),
        ('mmpretrain::resnet/resnet18_8xb16_cifar10.py', (3, 32, 32)),
        ('mmpretrain::lenet/lenet5_mnist.py', (1, 32, 32)),
    ],
)
def test_hosts(tmp_path: Path, base: str, shape: tuple[int, int, int]) -> None:
    (tmp_path / 'config.py').write_text(f'_base_ = {base!r}\n')
    cfg = Config.fromfile(tmp_path / 'config.py')
    found, key = input_shape_of(cfg)
    assert found == shape and key.startswith('test_dataloader.dataset')
    cfg.pruning = dict(input_shape=(3, 64, 96))
    assert input_shape_of(cfg) == ((3, 64, 96), 'pruning.input_shape')


@pytest.mark.parametrize(
    ('pipeline', 'size'),
    [
        ([dict(type='LoadImageFromFile')], (224, 224)),
        ([dict(type='ResizeEdge', scale=256), dict(type='CenterCrop', crop_size=224)], (224, 224)),
        ([dict(type='mmdet.Resize', scale=(640, 480), keep_ratio=False)], (480, 640)),
        ([dict(type='Resize', scale=(480, 640), keep_ratio=True)], (480, 640)),
        ([dict(type='Resize', scale=(333, 200), keep_ratio=True), dict(type='Pad', size_divisor=32)], (224, 352)),
        ([dict(type='Resize', scale=(320, 240)), dict(type='Pad', pad_to_square=True)], (320, 320)),
        ([dict(type='MultiScaleFlipAug', img_scale=(1333, 800), transforms=[])], (800, 1333)),
        ([dict(type='TTA', transforms=[dict(type='Resize', scale=(64, 48), keep_ratio=False)])], (48, 64)),
    ],
)
def test_pipelines(pipeline: list[dict], size: tuple[int, int]) -> None:
    dataset = dict(type='RepeatDataset', dataset=dict(type='CocoDataset', pipeline=pipeline))
    shape, _ = input_shape_of(Config(dict(test_dataloader=dict(dataset=dataset))))
    assert shape == (3, *size)


@pytest.mark.parametrize('dry', [False, True])
def test_runs_and_dry_runs_take_it_and_say_so(tmp_path: Path, dry: bool, capsys: pytest.CaptureFixture) -> None:
    config = tiny.write_config(tmp_path, "pruning.pop('input_shape')\npruning['evaluate'] = False\n")
    tiny.call('prune', config, '--work-dir', tmp_path / 'run', *(['--dry-run'] if dry else []))
    if dry:
        assert 'at input 1×3×16×16 (the size of test_dataloader.dataset.type)' in capsys.readouterr().out
    else:
        assert json.loads((tmp_path / 'run/report.json').read_text())['input_shape'] == [1, 3, 16, 16]


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*/ssd300_*.py')), ids=lambda path: path.stem)
def test_every_config_of_ssd300_runs_at_300_pixels(path: Path) -> None:
    shape, _ = input_shape_of(Config.fromfile(path))
    assert shape == (3, 300, 300)


def test_large_images_come_in_small_batches() -> None:
    large = calibration_batches(torch.zeros(1, 3, 800, 1344), None, 4, 64)
    assert [len(batch) for batch in large] == [2, 2]
    assert [len(batch) for batch in calibration_batches(torch.zeros(1, 3, 32, 32), None, 100, 64)] == [64, 36]
