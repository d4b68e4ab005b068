"""Several processes on one machine prune, train and test as one does."""

from functools import partial
from pathlib import Path

import pytest
import torch

from mmprune.checkpoint.reading import read_checkpoint
from tests.ranks import in_ranks
from tests.test_engine import ranks_of_runs, tiny

BOTH = """
pruning['finetune'] = True
custom_hooks = [dict(type='SameEverywhere'), dict(type='mmengine.EMAHook', momentum=0.1)]
"""
CHANNELS = """
pruning['restorer'] = 'BNRecalibration'
pruning['images'] = 'train_dataloader'
pruning['num_images'] = 30
"""
WEIGHTS = """
pruning = dict(target='backbone', restorer=None, evaluate=False, input_shape=(3, 16, 16),
               pruner=dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.8)))
"""
EXPANDERS = """
pruning = dict(target='', restorer=None, evaluate=False, input_shape=(3, 16, 16),
               pruner=dict(type='ExpanderPruner', graph='XNet', degree=2))
"""
SCHEDULE = "\npruning['schedule'] = dict(type='linear', steps=2)\n"


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 4])
def test_processes_prune_as_one(tmp_path: Path, world: int) -> None:
    single = tiny.write_config(tmp_path, CHANNELS + "\npruning['pruner']['allocator']['ratio'] = 0.25\n")
    tiny.call('train', single, '--work-dir', tmp_path / 'single')
    tiny.write_config(tmp_path, CHANNELS + SCHEDULE + BOTH, 'channels.py')
    tiny.write_config(tmp_path, WEIGHTS + SCHEDULE + BOTH, 'weights.py')
    tiny.write_config(tmp_path, EXPANDERS + BOTH, 'expanders.py')
    in_ranks(partial(ranks_of_runs.prune_and_train, tmp_path), world, tmp_path, connect=False)

    # the first step removed a quarter: by the same images, to the same channels and statistics
    one = read_checkpoint(tmp_path / 'single' / 'pruned.pth')['state_dict']
    two = read_checkpoint(tmp_path / 'channels' / 'epoch_1.pth')
    assert one._metadata[''] == two['state_dict']._metadata['']
    for mine, its in zip(tiny.stages(tmp_path / 'single'), tiny.stages(tmp_path / 'channels')):
        assert mine['metrics'] == its['metrics'], mine['name']
    # the second step, and the same once more after a resume
    widths = [
        read_checkpoint(tmp_path / run / 'epoch_2.pth')['state_dict']['backbone.layer3.1.conv1.weight'].shape[0]
        for run in ('channels', 'resumed')
    ]
    assert widths == [8, 8]
    tiny.assert_same_run(tmp_path / 'channels' / 'epoch_2.pth', tmp_path / 'resumed' / 'epoch_2.pth')
    assert tiny.metrics(tmp_path / 'test') == tiny.stages(tmp_path / 'resumed')[-1]['metrics']
    masked = read_checkpoint(tmp_path / 'weights' / 'finetuned.pth')['state_dict']
    mask = masked['backbone.layer3.1.conv1.weight_mask']
    assert not masked['backbone.layer3.1.conv1.weight'][~mask].any()
    assert abs(mask.double().mean() - 0.2) < 0.01 and torch.isfinite(masked['head.fc.weight']).all()
    sparse = read_checkpoint(tmp_path / 'expanders' / 'epoch_2.pth')
    masks = {key.removesuffix('_mask'): mask for key, mask in sparse['state_dict'].items() if key.endswith('t_mask')}
    assert len(masks) > 20 and not any(mask.all() for mask in masks.values())
    for key, mask in masks.items():
        assert not sparse['state_dict'][key][~mask].any()
        assert not sparse['ema_state_dict'][f'module.{key}'][~mask].any()
