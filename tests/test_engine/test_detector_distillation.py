"""Detectors with hooks and augmentations of their own are distilled without reading an image."""

from pathlib import Path

import pytest
import torch

from mmprune.checkpoint.reading import read_checkpoint
from tests.test_engine import tiny

EXTRA = """
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = None
pruning = dict(
    target='backbone', evaluate=False, finetune=True, input_shape=(3, 64, 64),
    pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)),
    images=dict(type='GaussianNoise', num_images=4, batch_size=2),
    distillation=dict(type='FeatureDistillation', bn='train', neck=0.5))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = val_evaluator = val_cfg = None
optim_wrapper = dict(_delete_=True, optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = None
train_cfg = dict(max_epochs=%d)
"""
HOSTS = {
    'retinanet/retinanet_r18_fpn_1x_coco.py': 1,
    'yolox/yolox_tiny_8xb8-300e_coco.py': 1,
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': 1,
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py': 1,
}


@pytest.mark.slow
@pytest.mark.parametrize('base', HOSTS, ids=lambda base: base.partition('/')[0])
def test_one_epoch(tmp_path: Path, base: str) -> None:
    path = tmp_path / 'detector.py'
    path.write_text(f"_base_ = ['mmdet::{base}']\n" + EXTRA % HOSTS[base])
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    before, after = (
        read_checkpoint(tmp_path / 'run' / f'{name}.pth')['state_dict'] for name in ('pruned', 'finetuned')
    )
    assert before.keys() == after.keys()
    for key, value in before.items():
        if not key.startswith('backbone'):  # the neck only passes gradients on, its batch norms too
            assert torch.equal(value, after[key]), key
    assert any(not torch.equal(value, after[key]) for key, value in before.items() if key.startswith('backbone'))
