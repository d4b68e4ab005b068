"""A classifier and data so small that a whole run takes a second, and the tools called in this process."""

import itertools
import json
import runpy
import sys
from functools import cache
from pathlib import Path
from unittest import mock

import torch
from mmengine.config import Config

from mmprune.checkpoint.reading import read_checkpoint

_numbers = itertools.count()
ROOT = Path(__file__).parents[2]

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmprune'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmprune.CIFARResNet', depth=20, base_channels=4, shortcut='conv1x1'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=16, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(num_classes=10, mean=[78.0] * 3, std=[82.0] * 3, to_rgb=False)
train_dataloader = dict(
    batch_size=16, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='mmprune.Digits', split='train', size=16, indices=48, pipeline=[
        dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]))
test_dataloader = dict(
    batch_size=64, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmprune.Digits', split='test', size=16, indices=64, pipeline=[dict(type='PackInputs')]))
test_evaluator = dict(type='Accuracy', topk=(1, 3))
test_cfg = dict()
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-3))
param_scheduler = dict(type='CosineAnnealingLR', T_max=2, by_epoch=True, convert_to_iter_based=True)
randomness = dict(seed=0)
log_level = 'WARNING'
pruning = dict(
    target='backbone', restorer=None, finetune=False, input_shape=(3, 16, 16),
    pruner=dict(type='ChannelPruner', criterion='L2Norm', keep=['conv1', '*.conv2'],
                allocator=dict(type='Uniform', ratio=0.5)))
"""


def write_config(folder: Path, extra: str = '', name: str = 'tiny.py') -> Path:
    """The tiny config, with more lines below it that may change what is above."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(CONFIG + extra)
    return path


def config(work_dir: Path, extra: str = '') -> Config:
    """The tiny config, read."""
    cfg = Config.fromstring(CONFIG + extra, file_format='.py')
    cfg.work_dir = str(work_dir)
    return cfg


@cache
def _tool(name: str) -> dict:
    return runpy.run_path(str(ROOT / 'tools' / f'{name}.py'), run_name=name)


def call(tool: str, *arguments: object) -> None:
    """Run a tool's ``main()`` in this process."""
    # mmengine keeps one message hub per process and name of experiment, and names are made of seconds
    name = f'experiment_name=run{next(_numbers)}'
    arguments = [str(item) for item in arguments]
    position = arguments.index('--cfg-options') + 1 if '--cfg-options' in arguments else len(arguments)
    arguments[position:position] = [name] if position < len(arguments) else ['--cfg-options', name]
    with mock.patch.object(sys, 'argv', [tool, *arguments]):
        _tool(tool)['main']()


def metrics(work_dir: Path) -> dict[str, float]:
    """What ``tools/test.py`` measured into this work dir, last."""
    newest = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime_ns)
    found = json.loads(newest.read_text().splitlines()[-1])
    return {key: value for key, value in found.items() if key.startswith('accuracy')}


def stages(work_dir: Path) -> list[dict]:
    """The stages in a work dir's report."""
    return json.loads((work_dir / 'report.json').read_text())['stages']


def assert_same_run(one: Path, two: Path) -> None:
    """Two checkpoints of runs hold bit-equal networks and optimisers."""
    a, b = read_checkpoint(one), read_checkpoint(two)
    assert a['state_dict'].keys() == b['state_dict'].keys()
    assert a['state_dict']._metadata[''] == b['state_dict']._metadata['']
    for key, value in a['state_dict'].items():
        assert torch.equal(value, b['state_dict'][key]), key
    for key, value in a.get('ema_state_dict', {}).items():
        assert torch.equal(value, b['ema_state_dict'][key]), key
    assert a['optimizer']['param_groups'] == b['optimizer']['param_groups']
    states = a['optimizer']['state'], b['optimizer']['state']
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        for key, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][index][key])), (index, key)
