"""Data-free fine-tuning is an ordinary run: it resumes, averages, saves, and never reads a real image."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmprune.checkpoint.reading import read_checkpoint
from mmprune.datasets import SyntheticImages
from mmprune.engine import prepare_config
from mmprune.errors import ConfigError
from tests.test_engine import tiny

SYNTHETIC = """
pruning.update(
    finetune=True, images=dict(type='GaussianNoise', num_images=48, batch_size=16),
    distillation=dict(type='FeatureDistillation', weights=2, bn='train'))
train_dataloader['dataset'] = dict(type='mmprune.Digits', split='train', data_root='/no/such/folder',
                                   pipeline=[dict(type='NoSuchTransform')])
"""
EMA = "\ncustom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]\n"
REAL = "\npruning['distillation'].update(images='real', num_real=20)\npruning['images'] = None\n"


def test_no_real_image_is_read_and_heads_stay(tmp_path: Path) -> None:
    """The training set of this config cannot be built at all."""
    path = tiny.write_config(tmp_path, SYNTHETIC)
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    before, after = (read_checkpoint(tmp_path / 'run' / f'{name}.pth')['state_dict'] for name in ('pruned', 'epoch_2'))
    assert before.keys() == after.keys()  # those of the host: the teacher is nowhere in it
    for key, value in before.items():
        same = torch.equal(value, after[key])
        assert same if key.startswith('head') else not same or 'num_batches' in key, key
    assert before._metadata[''] == after._metadata['']
    names = [stage['name'] for stage in tiny.stages(tmp_path / 'run')]
    assert names == ['dense', 'pruned', 'finetuned']
    tiny.call('test', path, tmp_path / 'run' / 'finetuned.pth', '--work-dir', tmp_path / 'test')
    assert tiny.metrics(tmp_path / 'test') == tiny.stages(tmp_path / 'run')[-1]['metrics']


@pytest.mark.parametrize('optimizer', ['SGD', 'AdamW'])
def test_resume_is_bit_equal(tmp_path: Path, optimizer: str) -> None:
    extra = (
        SYNTHETIC
        + EMA
        + f"""
train_cfg['max_epochs'] = 3
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
optim_wrapper = dict(optimizer=dict(type='{optimizer}', lr=0.01, weight_decay=0.1))
"""
    )
    path = tiny.write_config(tmp_path, extra)
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    head = [
        read_checkpoint(tmp_path / 'run' / f'{name}.pth')['state_dict']['head.fc.weight']
        for name in ('pruned', 'epoch_3')
    ]
    assert torch.equal(*head)  # no decay either
    tiny.call('train', path, '--work-dir', tmp_path / 'resumed', '--resume', tmp_path / 'run' / 'epoch_1.pth')
    tiny.assert_same_run(tmp_path / 'run' / 'epoch_3.pth', tmp_path / 'resumed' / 'epoch_3.pth')
    assert tiny.stages(tmp_path / 'run')[-1]['metrics'] == tiny.stages(tmp_path / 'resumed')[-1]['metrics']


def test_resume_without_its_teacher(tmp_path: Path) -> None:
    path, run = tiny.write_config(tmp_path, SYNTHETIC), tmp_path / 'run'
    tiny.call('train', path, '--work-dir', run)
    teacher = run / 'teacher.pth'
    kept = teacher.read_bytes()
    tiny.call('train', path, '--work-dir', tmp_path / 'other', '--seed', 5)
    teacher.write_bytes((tmp_path / 'other' / 'teacher.pth').read_bytes())
    call = ('train', path, '--work-dir', run, '--resume', run / 'epoch_1.pth')
    with pytest.raises(SystemExit):
        tiny.call(*call)
    teacher.unlink()
    with pytest.raises(SystemExit):
        tiny.call(*call)
    teacher.write_bytes(kept)
    tiny.call(*call)


def test_the_message_about_a_missing_teacher(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, run = tiny.write_config(tmp_path, SYNTHETIC), tmp_path / 'run'
    tiny.call('train', path, '--work-dir', run)
    (run / 'teacher.pth').unlink()
    with pytest.raises(SystemExit):
        tiny.call('train', path, '--work-dir', run, '--resume', run / 'epoch_1.pth')
    error = capsys.readouterr().err
    assert 'teacher.pth' in error and str(run) in error and 'start the run anew' in error


@pytest.mark.parametrize('images', ['real', 'mixed'])
def test_real_and_mixed_images(tmp_path: Path, images: str) -> None:
    extra = f"""
pruning.update(finetune=True, images=dict(type='GaussianNoise', num_images=48, batch_size=16, shape=(3, 16, 16)),
               distillation=dict(type='FeatureDistillation', images='{images}', num_real=20))
"""
    path = tiny.write_config(tmp_path, extra)
    cfg = prepare_config(Config.fromfile(path))
    dataset = cfg.train_dataloader.dataset
    assert (dataset.type, dataset.get('num_images')) == (
        ('mmprune.RandomSubset', 20) if images == 'real' else ('mmengine.ConcatDataset', None)
    )
    assert prepare_config(cfg).train_dataloader.dataset == dataset
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    iterations = read_checkpoint(tmp_path / 'run' / 'epoch_2.pth')['meta']['iter']
    assert iterations == 2 * (2 if images == 'real' else 5)  # 20 or 68 images in batches of 16


def test_training_by_iterations_with_workers(tmp_path: Path) -> None:
    path = tiny.write_config(
        tmp_path,
        SYNTHETIC
        + """
train_dataloader['num_workers'] = 1
train_cfg = dict(by_epoch=False, max_iters=3, val_interval=100)
param_scheduler = None
""",
    )
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'run')][-1] == 'finetuned'


def test_iterative_pruning_keeps_the_first_teacher(tmp_path: Path) -> None:
    path = tiny.write_config(tmp_path, SYNTHETIC + EMA + "\npruning['schedule'] = dict(type='linear', steps=2)\n")
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    dense = read_checkpoint(tmp_path / 'run' / 'teacher.pth')['state_dict']
    assert dense['backbone.layer3.0.conv1.weight'].shape[0] == 16
    tuned = read_checkpoint(tmp_path / 'run' / 'epoch_2.pth')['state_dict']
    assert tuned['backbone.layer3.0.conv1.weight'].shape[0] == 8


def test_two_stages_the_result_becomes_the_teacher(tmp_path: Path) -> None:
    first = tiny.write_config(tmp_path, SYNTHETIC + "\npruning['pruner']['keep'] += ['layer3*', 'layer2*']\n", 'a.py')
    tiny.call('train', first, '--work-dir', tmp_path / 'a')
    second = tiny.write_config(
        tmp_path,
        SYNTHETIC
        + f"""
load_from = {str(tmp_path / 'a' / 'finetuned.pth')!r}
pruning['pruner']['keep'] += ['layer1*']
pruning['distillation']['include_untouched'] = True
""",
        'b.py',
    )
    tiny.call('train', second, '--work-dir', tmp_path / 'b')
    teacher, result, start = (
        read_checkpoint(tmp_path / name)['state_dict']
        for name in ('b/teacher.pth', 'b/finetuned.pth', 'a/finetuned.pth')
    )
    assert all(torch.equal(value, teacher[key]) for key, value in start.items())
    widths = {key: result[f'backbone.{key}.0.conv1.weight'].shape[0] for key in ('layer1', 'layer2', 'layer3')}
    assert widths == dict(layer1=2, layer2=4, layer3=8)
    tiny.call('train', second, '--work-dir', tmp_path / 'c', '--resume', tmp_path / 'b' / 'epoch_1.pth')
    tiny.assert_same_run(tmp_path / 'b' / 'epoch_2.pth', tmp_path / 'c' / 'epoch_2.pth')


def test_restorers_get_the_synthetic_images(tmp_path: Path) -> None:
    path = tiny.write_config(tmp_path, SYNTHETIC + "\npruning['restorer'] = 'BNRecalibration'\n")
    tiny.call('train', path, '--work-dir', tmp_path / 'run')
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'run')] == ['dense', 'pruned', 'restored', 'finetuned']


BAD = {
    'pruning.finetune': "pruning['finetune'] = False",
    "pruning.images: distillation.images='synthetic' needs a synthesizer": "pruning['images'] = 'test_dataloader'",
    'pruning.images.type': "pruning['images'] = dict(type='DeepInversio')",
    'pruning.schedule.begin': "pruning['schedule'] = dict(type='linear', steps=1, begin=1)",
    'pruning.distillation.type': "pruning['distillation'] = dict(type='FeatureDistilation')",
    'pruning.distillation.weights': "pruning['distillation'] = dict(type='FeatureDistillation', weights=12)",
    "pruning.images: 'train_dataloader', 'val_dataloader'": "pruning['images'] = 5",
}


@pytest.mark.parametrize('message', BAD)
def test_bad_configs(tmp_path: Path, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        prepare_config(tiny.config(tmp_path, SYNTHETIC + BAD[message]))


def test_data_loader_of_a_prepared_config(tmp_path: Path) -> None:
    cfg = prepare_config(tiny.config(tmp_path, SYNTHETIC))
    loader = cfg.train_dataloader
    assert loader.dataset.type == 'mmprune.SyntheticImages' and loader.dataset.num_images == 48
    assert (loader.batch_size, loader.num_workers) == (16, 0)
    assert cfg.find_unused_parameters
    assert loader.dataset.metainfo.classes == tuple('0123456789')
    assert '/no/such/folder' not in cfg.pretty_text
    assert prepare_config(cfg).train_dataloader == loader
    assert SyntheticImages(48).num_images == 48


def test_networks_without_batch_norm_are_told_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tiny.write_config(
        tmp_path,
        """
model = dict(type='ImageClassifier', backbone=dict(type='mmpretrain.VGG', depth=11, num_classes=-1, out_indices=(4,)),
             neck=dict(type='GlobalAveragePooling'),
             head=dict(type='LinearClsHead', num_classes=10, in_channels=512))
pruning = dict(
    finetune=True, evaluate=False, input_shape=(3, 32, 32), images=dict(type='DeepInversion', num_images=4),
    pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)),
    distillation=dict(type='FeatureDistillation'))
""",
    )
    with pytest.raises(SystemExit):
        tiny.call('train', path, '--work-dir', tmp_path / 'run')
    error = capsys.readouterr().err
    assert 'pruning.images' in error and 'GaussianNoise' in error
