"""A config with ExpanderPruner: sparse in every checkpoint, resumed bit by bit, the same graphs in analyze.py."""

import json
from pathlib import Path

import pytest
import torch

from mmprune.checkpoint.reading import read_checkpoint
from mmprune.report.report import Report
from tests.test_engine import tiny

EXPANDERS = """
pruning = dict(target='', finetune=True, input_shape=(3, 16, 16),
               pruner=dict(type='ExpanderPruner', graph=dict(type='XNet'), degree=2))
custom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]
"""


def masked(state: dict) -> dict[str, torch.Tensor]:
    return {key.removesuffix('_mask'): value for key, value in state.items() if key.endswith('.weight_mask')}


@pytest.mark.slow
def test_every_checkpoint_is_sparse_and_resumes(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, EXPANDERS)
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    tiny.call('train', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a' / 'epoch_1.pth')
    tiny.assert_same_run(tmp_path / 'a' / 'epoch_2.pth', tmp_path / 'b' / 'epoch_2.pth')
    for name in ('pruned', 'epoch_1', 'epoch_2', 'finetuned'):
        checkpoint = read_checkpoint(tmp_path / 'a' / f'{name}.pth')
        found = masked(checkpoint['state_dict'])
        assert 'backbone.conv1.weight' in found and 'head.fc.weight' not in found
        for key, mask in found.items():
            assert not checkpoint['state_dict'][key][~mask].any() and not mask.all(), key
            averaged = checkpoint.get('ema_state_dict', {}).get(f'module.{key}')
            assert averaged is None or not averaged[~mask].any(), key
    report = Report.load(tmp_path / 'a' / 'report.json')
    assert [stage.name for stage in report.stages] == ['dense', 'pruned', 'finetuned']
    sparse = report.stage('dense').params - sum(int((~mask).sum()) for mask in found.values())
    assert report.stage('pruned').nonzero_params == report.stage('finetuned').nonzero_params == sparse
    tiny.call('test', config, tmp_path / 'b' / 'finetuned.pth', '--work-dir', tmp_path / 'test')
    assert tiny.metrics(tmp_path / 'test') == report.stage('finetuned').metrics


@pytest.mark.slow
def test_analysis_of_config_and_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tiny.write_config(tmp_path, EXPANDERS + "\npruning['finetune'] = False\n")
    tiny.call('train', config, '--work-dir', tmp_path)
    capsys.readouterr()
    for name, more in (('drawn', ()), ('loaded', (tmp_path / 'pruned.pth',))):
        tiny.call(
            'analyze',
            'expander',
            config,
            *more,
            '--out',
            tmp_path / f'{name}.json',
            '--plot',
            tmp_path / f'{name}.png',
            '--work-dir',
            tmp_path,
        )
    drawn, loaded = (json.loads((tmp_path / f'{name}.json').read_text()) for name in ('drawn', 'loaded'))
    by_name = [{layer['name']: layer for layer in found['layers']} for found in (drawn, loaded)]
    assert by_name[0] == by_name[1]
    layer = by_name[0]['backbone.layer2.0.conv1']
    assert (layer['graph']['inputs'], layer['graph']['outputs'], layer['graph']['edges']) == (4, 8, 8)
    assert layer['weights'] == 72 and layer['density'] == 0.25
    assert layer['macs'] == layer['dense_macs'] / 4 == 72 * 8 * 8
    assert (tmp_path / 'drawn.png').read_bytes()[:4] == b'\x89PNG'
    table = capsys.readouterr().out
    assert 'backbone.layer2.0.conv1' in table and '4 → 8' in table and 'dead out' in table


def test_analysis_needs_graphs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tiny.write_config(tmp_path)
    with pytest.raises(SystemExit):
        tiny.call('analyze', 'expander', config, '--work-dir', tmp_path)
    assert 'pruning.pruner: draws no graphs' in capsys.readouterr().err


def test_a_schedule_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tiny.write_config(
        tmp_path,
        EXPANDERS
        + """
pruning['schedule'] = dict(type='linear', steps=2)
pruning['evaluate'] = False
""",
    )
    with pytest.raises(SystemExit):
        tiny.call('train', config, '--work-dir', tmp_path)
    assert 'pruning.schedule: ExpanderPruner draws its graphs once' in capsys.readouterr().err
