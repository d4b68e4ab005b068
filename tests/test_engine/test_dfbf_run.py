"""The whole of DFBF on a network that has learnt something."""

import json
from pathlib import Path

import pytest

from tests.test_engine import tiny

NETWORK = """
model['backbone'].update(base_channels=8)
model['head'].update(in_channels=32)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
"""
DENSE = (
    NETWORK
    + """
pruning = None
train_dataloader['dataset'].pop('indices')
train_dataloader['batch_size'] = 64
train_dataloader['dataset']['pipeline'] = [dict(type='PackInputs')]
test_dataloader['dataset'].pop('indices')
optim_wrapper['optimizer'].update(lr=0.1)
train_cfg['max_epochs'] = 4
param_scheduler['T_max'] = 4
"""
)
DFBF = """
test_dataloader['dataset'].pop('indices')
pruning['finetune'] = True
pruning['images'] = dict(type='DeepInversion', num_images=192, batch_size=64, phases=[dict(iterations=60, jitter=1)],
                         warmup=5)
pruning['distillation'] = dict(type='FeatureDistillation', bn='train')
train_dataloader['dataset']['type'] = 'NoSuchDataset'
"""


@pytest.mark.slow
def test_two_epochs_lower_the_loss_and_raise_the_accuracy(tmp_path: Path) -> None:
    tiny.call('train', tiny.write_config(tmp_path, DENSE, 'dense.py'), '--work-dir', tmp_path / 'dense')
    weights = f'load_from = {str(tmp_path / "dense" / "epoch_4.pth")!r}\n'
    tiny.call('train', tiny.write_config(tmp_path, NETWORK + DFBF + weights), '--work-dir', tmp_path / 'run')
    dense, pruned, tuned = (stage['metrics']['accuracy/top1'] for stage in tiny.stages(tmp_path / 'run'))
    assert dense > 90 and pruned < dense - 10  # there is something to repair
    assert pruned + 0.5 * (dense - pruned) < tuned
    lines = [
        json.loads(line)
        for path in (tmp_path / 'run').glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    lines = [line for line in lines if 'loss_feat_1' in line]
    losses = [line['loss'] for line in lines]
    half = len(losses) // 2
    assert sum(losses[half:]) < 0.9 * sum(losses[:half])
    terms = sum(value for key, value in lines[0].items() if key.startswith('loss_'))
    assert losses[0] == pytest.approx(terms, rel=1e-3)
