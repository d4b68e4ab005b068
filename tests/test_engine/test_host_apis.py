"""The hosts' own ways of loading give the pruned network; stock configs need four lines and keep their hooks."""

import json
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmengine.config import Config
from mmpretrain.apis import ImageClassificationInferencer, get_model

import mmprune
from mmprune.checkpoint.record import structure_of
from mmprune.engine import prepare_config
from mmprune.registry import MODELS
from tests.test_engine import tiny

DETECTOR = """
_base_ = ['mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', '{root}/configs/_base_/default_pruning.py']
model = dict(type='mmprune.Pruned', host={{{{_base_.model.type}}}}, backbone=dict(init_cfg=None),
             bbox_head=dict(num_classes=2), test_cfg=dict(score_thr=0.0))
pruning = dict(pruner=dict(allocator=dict(ratio=0.5)), restorer=None, input_shape=(3, 64, 64), finetune=True)
data_root = '{folder}/'
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
data = dict(type='CocoDataset', data_root=data_root, ann_file='ann.json', data_prefix=dict(img=''),
            metainfo=dict(classes=('left', 'right'), palette=[(1, 2, 3), (4, 5, 6)]), pipeline=pipeline)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(_delete_=True, **data))
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(_delete_=True, test_mode=True, **data))
test_evaluator = dict(ann_file=data_root + 'ann.json')
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)
log_level = 'ERROR'
"""


@pytest.fixture(scope='module')
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two images, a stock RetinaNet's config, and the work dir of a run."""
    folder = tmp_path_factory.mktemp('detector')
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(2):
        mmcv.imwrite(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), str(folder / f'{i}.png'))
        images.append(dict(id=i, file_name=f'{i}.png', width=64, height=64))
        annotations.append(dict(id=i + 1, image_id=i, category_id=i + 1, bbox=[8, 8, 32, 32], area=1024, iscrowd=0))
    (folder / 'ann.json').write_text(
        json.dumps(
            dict(
                images=images, annotations=annotations, categories=[dict(id=1, name='left'), dict(id=2, name='right')]
            )
        )
    )
    (folder / 'leaf.py').write_text(DETECTOR.format(root=tiny.ROOT, folder=folder))
    tiny.call('train', folder / 'leaf.py', '--work-dir', folder / 'run')
    return folder


def test_detector_from_a_stock_config(detector: Path) -> None:
    assert [stage['name'] for stage in tiny.stages(detector / 'run')] == ['dense', 'pruned', 'finetuned']
    assert set(tiny.stages(detector / 'run')[2]['metrics']) >= {'coco/bbox_mAP'}
    expected = None
    for config in ('leaf.py', 'run/leaf.py'):  # what the user wrote, and what the run left beside the checkpoint
        model = init_detector(str(detector / config), str(detector / 'run' / 'finetuned.pth'), device='cpu')
        assert type(model).__name__ == 'RetinaNet'
        assert model.dataset_meta['classes'] == ('left', 'right')
        conv = model.backbone.layer4[0].conv1
        assert conv.out_channels == conv.weight.shape[0] == 256
        found = inference_detector(model, str(detector / '0.png')).pred_instances.scores
        expected = found if expected is None else expected
        assert torch.equal(found, expected)
    model = mmprune.load(
        MODELS.build(prepare_config(Config.fromfile(detector / 'leaf.py')).model), detector / 'run' / 'finetuned.pth'
    ).eval()
    images = torch.rand(1, 3, 64, 64)
    again = init_detector(str(detector / 'leaf.py'), str(detector / 'run' / 'epoch_1.pth'), device='cpu')
    assert all(torch.equal(a, b) for a, b in zip(again.extract_feat(images), model.extract_feat(images)))


def test_detector_in_an_inferencer(detector: Path) -> None:
    run = detector / 'run'
    inferencer = DetInferencer(str(run / 'leaf.py'), str(run / 'finetuned.pth'), device='cpu', show_progress=False)
    assert structure_of(inferencer.model)
    assert len(inferencer(str(detector / '0.png'))['predictions']) == 1


def test_a_plain_detector_takes_the_structure_too(detector: Path) -> None:
    dense = Config.fromfile(detector / 'leaf.py')
    dense.model.type = dense.model.pop('host')
    for checkpoint in ('finetuned.pth', 'pruned.pth', 'epoch_1.pth'):
        assert structure_of(init_detector(dense.copy(), str(detector / 'run' / checkpoint), device='cpu'))


def test_classifier(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, "\npruning['evaluate'] = False\n")
    tiny.call('train', config, '--work-dir', tmp_path / 'run')
    checkpoint = str(tmp_path / 'run' / 'pruned.pth')
    cfg = Config.fromfile(tmp_path / 'run' / 'tiny.py')  # the user's own has the dense type
    model = get_model(cfg, pretrained=checkpoint)
    images = torch.rand(2, 3, 16, 16)
    assert model.backbone.layer1[0].conv1.out_channels == 2
    other = mmprune.load(MODELS.build(cfg.model), checkpoint).eval()
    assert torch.equal(model(images), other(images))
    cfg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    inferencer = ImageClassificationInferencer(cfg, pretrained=checkpoint, device='cpu')
    assert structure_of(inferencer.model)
    inferencer.show_progress = False
    assert 0 <= inferencer(np.zeros((16, 16, 3), np.uint8), show_dir=None)[0]['pred_label'] < 10
    assert torch.equal(get_model(Config.fromfile(config), pretrained=checkpoint)(images), other(images))


@pytest.mark.parametrize('name', ['yolox/yolox_tiny_8xb8-300e_coco.py', 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py'])
def test_hooks_of_a_base_survive(name: str) -> None:
    from mmengine.hub import get_config

    base = get_config(f'mmdet::{name}')
    kinds = [hook['type'] for hook in base.custom_hooks]
    base.pruning = dict(pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)), finetune=True)
    for _ in range(2):  # a dumped config is prepared again
        prepare_config(base)
        assert [hook['type'] for hook in base.custom_hooks] == [*kinds, 'mmprune.PruningHook', 'mmprune.EpochSeedHook']
        assert base.model.type == 'mmprune.Pruned' and base.model.host in ('YOLOX', 'RTMDet')
        assert base.custom_imports['imports'].count('mmprune') == 1
