"""Iterative pruning of weights with measured curves: nested masks, the published ladder, fresh optimisers."""

from pathlib import Path

import pytest
import torch

from mmprune.checkpoint.reading import read_checkpoint
from mmprune.engine.schedule import Schedule
from mmprune.errors import ConfigError
from mmprune.options import build
from tests.test_engine import tiny

ITERATIVE = """
train_cfg['max_epochs'] = 3
train_dataloader['dataset']['indices'] = 32
optim_wrapper = dict(_delete_=True, optimizer=dict(type='AdamW', lr=3e-4))
param_scheduler = dict(type='CosineAnnealingLR', T_max=1, by_epoch=True, convert_to_iter_based=True)
pruning = dict(
    target='', restorer=None, finetune=True, evaluate=False, input_shape=(3, 16, 16),
    schedule=dict(type='exponential', steps=3, amount=0.5, fresh_optimizer=True),
    pruner=dict(type='WeightPruner', allocator=dict(
        type='RateDistortion', ratio=0.875, curves=dict(num_images=4, points=4, cache=False))))
""".replace('_delete_=True, ', '')


def masks_of(path):
    return {key: value for key, value in read_checkpoint(path)['state_dict'].items() if key.endswith('weight_mask')}


def test_the_published_ladder():
    schedule = Schedule(type='exponential', steps=20, amount=0.2)
    whole = 1 - 0.8**20
    ladder = [round(100 * whole * schedule.fraction(step), 2) for step in range(20)]
    assert ladder[:4] == [20.0, 36.0, 48.8, 59.04] and ladder[13] == 95.6 and ladder[-1] == 98.85
    assert schedule.fraction(19) == 1


@pytest.mark.parametrize(
    'options',
    [
        dict(type='exponential', steps=3),
        dict(type='exponential', steps=3, amount=1.5),
        dict(type='linear', amount=0.2),
    ],
)
def test_amount_belongs_to_the_exponential_schedule(options):
    with pytest.raises(ConfigError, match='schedule.amount'):
        build(Schedule, options, 'pruning.schedule')


@pytest.mark.slow
def test_masks_are_nested_and_resume_is_bit_equal(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, ITERATIVE)
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    tiny.call('train', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a' / 'epoch_2.pth')
    tiny.assert_same_run(tmp_path / 'a' / 'epoch_3.pth', tmp_path / 'b' / 'epoch_3.pth')
    before = None
    for epoch, share in enumerate((0.5, 0.25, 0.125), start=1):
        masks = masks_of(tmp_path / 'a' / f'epoch_{epoch}.pth')
        left, total = (sum(int(getattr(m, what)()) for m in masks.values()) for what in ('sum', 'numel'))
        assert left <= share * total < left + 0.02 * total
        if before is not None:
            assert not any((masks[key] & ~before[key]).any() for key in masks)
        assert all(mask.any() for mask in masks.values())
        before = masks
    optimizer = read_checkpoint(tmp_path / 'a' / 'epoch_3.pth')['optimizer']
    assert {int(state['step']) for state in optimizer['state'].values()} == {2}  # two batches since the last step
    assert torch.isfinite(torch.cat([s['exp_avg'].flatten() for s in optimizer['state'].values()])).all()
