"""N:M patterns of the WeightPruner."""

import pytest
import torch
from torch import nn

import mmprune
from mmprune.pruners import WeightPruner
from mmprune.pruners.weight import pattern_mask
from mmprune.surgery.masking import masks


def test_two_of_four_stay_along_the_input_channels():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.Flatten(), nn.Linear(12 * 16, 5))
    dense = net[2].weight.detach().clone()
    report = mmprune.prune(net, torch.randn(1, 3, 8, 8), pruner=dict(type='WeightPruner', pattern='2:4'))
    found = masks(net)
    assert set(found) == {'2', '4'}
    blocks = found['2'].permute(0, 2, 3, 1).reshape(-1, 4)
    assert (blocks.sum(dim=1) == 2).all()
    kept = (dense.abs() * found['2']).permute(0, 2, 3, 1).reshape(-1, 4)
    lost = (dense.abs() * ~found['2']).permute(0, 2, 3, 1).reshape(-1, 4)
    assert (lost.max(dim=1).values <= kept.topk(2).values[:, 1]).all()
    rows = {row.name: row for row in report.layers}
    assert rows['2'].after * 2 == rows['2'].before and 'multiple of 4' in rows['0'].reason
    before = {name: mask.clone() for name, mask in found.items()}
    mmprune.prune(net, torch.randn(1, 3, 8, 8), pruner=dict(type='WeightPruner', pattern='1:4'))
    assert all(
        int(mask.sum()) * 4 == mask.numel() and not (mask & ~before[name]).any() for name, mask in masks(net).items()
    )


def test_equal_scores_and_zeros():
    assert pattern_mask(torch.tensor([[1.0, 1, 1, 1, 0, 0, 0, 2]]), 2, 4).tolist() == [
        [True, True, False, False, False, False, False, True]
    ]


@pytest.mark.parametrize('pattern', ['4:2', '2-4', '0:4', 24, 'a:b'])
def test_bad_patterns(pattern):
    with pytest.raises(ValueError, match='^pattern: '):
        WeightPruner(pattern=pattern)


def test_either_pattern_or_allocator():
    with pytest.raises(ValueError, match='either'):
        WeightPruner()
    with pytest.raises(ValueError, match='either'):
        WeightPruner('Uniform', pattern='2:4')
