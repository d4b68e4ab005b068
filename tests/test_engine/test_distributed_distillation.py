"""Several processes distil as one does with the same global batch."""

from functools import partial
from pathlib import Path

import pytest
import torch

from mmprune.checkpoint.reading import read_checkpoint
from tests.ranks import in_ranks
from tests.test_engine import ranks_of_runs, tiny

EXTRA = """
pruning.update(
    finetune=True, images=dict(type='GaussianNoise', num_images=48, batch_size=16),
    distillation=dict(type='FeatureDistillation', weights=2, bn='eval'))
"""


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 4])
def test_processes_train_as_one(tmp_path: Path, world: int) -> None:
    tiny.call('train', tiny.write_config(tmp_path, EXTRA, 'one.py'), '--work-dir', tmp_path / 'one')
    tiny.write_config(tmp_path, EXTRA + f"\ntrain_dataloader['batch_size'] = {16 // world}\n", 'several.py')
    in_ranks(partial(ranks_of_runs.distil, tmp_path), world, tmp_path, connect=False)
    pruned, one, several = (
        read_checkpoint(tmp_path / name)['state_dict']
        for name in ('one/pruned.pth', 'one/epoch_2.pth', 'several/epoch_2.pth')
    )
    for key, value in one.items():
        assert torch.allclose(value, several[key], atol=1e-5), key
        if key.startswith('head'):
            assert torch.equal(pruned[key], several[key])
    assert not torch.equal(pruned['backbone.layer3.0.conv1.weight'], one['backbone.layer3.0.conv1.weight'])
    tiny.assert_same_run(tmp_path / 'several' / 'epoch_2.pth', tmp_path / 'resumed' / 'epoch_2.pth')
