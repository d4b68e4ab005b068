"""tools/test.py says whose figures it shows."""

from pathlib import Path

from mmengine.registry import init_default_scope

import mmprune
from mmprune.registry import MODELS
from tests.test_engine import tiny

NOTE = 'this checkpoint is not pruned'


def log_of(work_dir: Path) -> str:
    """Everything that a run logged."""
    return '\n'.join(path.read_text() for path in sorted(work_dir.glob('*/*.log')))


def test_a_dense_checkpoint_under_a_config_that_prunes(tmp_path: Path) -> None:
    pruning = tiny.write_config(tmp_path)
    plain = tiny.write_config(tmp_path, '\npruning = None\n', 'plain.py')
    cfg = tiny.config(tmp_path)
    init_default_scope('mmpretrain')
    dense = mmprune.save(MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)), tmp_path / 'd.pth')
    tiny.call('train', pruning, '--work-dir', tmp_path / 'run', '--cfg-options', f'load_from={dense}')
    for name, config, checkpoint, is_noted in (
        ('dense', pruning, dense, True),
        ('pruned', pruning, tmp_path / 'run' / 'pruned.pth', False),
        ('plain', plain, dense, False),
    ):
        tiny.call('test', config, checkpoint, '--work-dir', tmp_path / name)
        assert (NOTE in log_of(tmp_path / name)) == is_noted


def test_a_checkpoint_of_masks_is_pruned(tmp_path: Path) -> None:
    masks = "\npruning['pruner'] = dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.5))\n"
    config = tiny.write_config(tmp_path, masks)
    tiny.call('train', config, '--work-dir', tmp_path / 'run')
    tiny.call('test', config, tmp_path / 'run' / 'pruned.pth', '--work-dir', tmp_path / 'test')
    assert NOTE not in log_of(tmp_path / 'test')
