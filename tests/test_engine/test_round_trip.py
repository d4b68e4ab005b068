"""Prune → save → test → resume → test: the same numbers, bit by bit."""

import json
from pathlib import Path

import pytest
import torch

import mmprune
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.checkpoint.record import structure_of
from mmprune.registry import MODELS
from mmprune.report.report import Report
from tests.test_engine import tiny

FINETUNE = "\npruning['finetune'] = True\n"
EMA = """
custom_hooks = [dict(type='mmengine.EMAHook', ema_type='mmdet.ExpMomentumEMA', momentum=0.1, gamma=5,
                     update_buffers=True, priority=49)]
"""
WEIGHTS = """
pruning = dict(target='backbone', restorer=None, finetune=True, input_shape=(3, 16, 16),
               pruner=dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.8)))
"""
SCHEDULE = """
train_cfg['max_epochs'] = 3
pruning['schedule'] = dict(type='cubic', steps=3)
"""


def test_a_run_without_training_saves_what_it_measured(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path)
    tiny.call('train', config, '--work-dir', tmp_path / 'a', '--seed', '3', '--deterministic')
    torch.use_deterministic_algorithms(False)
    report = Report.load(tmp_path / 'a' / 'report.json')
    assert [stage.name for stage in report.stages] == ['dense', 'pruned']
    assert report.seed == 3
    assert report.stages[1].flops < report.stages[0].flops
    tiny.call('test', config, tmp_path / 'a' / 'pruned.pth', '--work-dir', tmp_path / 'test')
    assert tiny.metrics(tmp_path / 'test') == report.stages[1].metrics
    # the config in the work dir loads the checkpoint too, and does the same job again
    dumped = tmp_path / 'a' / 'tiny.py'
    tiny.call('test', dumped, tmp_path / 'a' / 'pruned.pth', '--work-dir', tmp_path / 'test')
    assert tiny.metrics(tmp_path / 'test') == report.stages[1].metrics
    tiny.call('train', dumped, '--work-dir', tmp_path / 'b')
    one, two = (read_checkpoint(tmp_path / run / 'pruned.pth')['state_dict'] for run in 'ab')
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize('extra', [FINETUNE, FINETUNE + EMA], ids=['plain', 'average'])
def test_resumed_training_is_bit_equal(tmp_path: Path, extra: str) -> None:
    config = tiny.write_config(tmp_path, extra)
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    tiny.call('train', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a' / 'epoch_1.pth')
    tiny.assert_same_run(tmp_path / 'a' / 'epoch_2.pth', tmp_path / 'b' / 'epoch_2.pth')
    whole, resumed = tiny.stages(tmp_path / 'a'), tiny.stages(tmp_path / 'b')
    for stage in (*whole, *resumed):
        stage.pop('seconds')
    assert whole == resumed
    assert [stage['name'] for stage in whole] == ['dense', 'pruned', 'finetuned']
    for name in ('finetuned', 'epoch_2'):
        tiny.call('test', config, tmp_path / 'b' / f'{name}.pth', '--work-dir', tmp_path / 'test')
        assert tiny.metrics(tmp_path / 'test') == whole[-1]['metrics']


@pytest.mark.parametrize(
    ('extra', 'kept'),
    [(FINETUNE + EMA, [10, 8, 8]), (WEIGHTS, [16 * 16 * 9 * share // 1000 for share in (437, 230, 200)])],
    ids=['channels', 'weights'],
)
def test_resume_in_the_middle_of_a_schedule(tmp_path: Path, extra: str, kept: list[int]) -> None:
    """Three steps end where one shot would; a network that waits for its next step is resumed bit by bit, too."""
    config = tiny.write_config(tmp_path, extra + SCHEDULE + "\npruning['evaluate'] = False\n")
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    tiny.call('train', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a' / 'epoch_1.pth')
    tiny.assert_same_run(tmp_path / 'a' / 'epoch_3.pth', tmp_path / 'b' / 'epoch_3.pth')
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'b')] == ['dense', *['pruned'] * 3, 'finetuned']
    rows = {row.name: row for row in Report.load(tmp_path / 'b' / 'report.json').layers}
    assert rows['backbone.layer3.1.conv1'].before == (16 if 'WeightPruner' not in extra else 16 * 16 * 9)
    assert not rows['backbone.layer3.1.conv1'].reason
    for epoch, count in enumerate(kept, start=1):
        state = read_checkpoint(tmp_path / 'a' / f'epoch_{epoch}.pth')['state_dict']
        mask = state.get('backbone.layer3.1.conv1.weight_mask')
        found = state['backbone.layer3.1.conv1.weight'].shape[0] if mask is None else int(mask.sum())
        assert abs(found - count) <= (0 if mask is None else 2), epoch  # weights: rounding of all layers together


def test_pruning_a_pruned_network_composes(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, "\npruning['evaluate'] = False\n")
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    tiny.call(
        'train',
        config,
        '--work-dir',
        tmp_path / 'b',
        '--cfg-options',
        'pruning.finetune=True',
        f'load_from={tmp_path}/a/pruned.pth',
        'train_cfg.max_epochs=1',
    )
    cfg = mmprune.engine.make_loadable_config(tiny.config(tmp_path))
    models = [
        mmprune.load(MODELS.build(cfg.model), tmp_path / run)
        for run in ('a/pruned.pth', 'b/pruned.pth', 'b/finetuned.pth')
    ]
    first, second, third = (structure_of(model).modules['backbone.layer3.1.conv1'] for model in models)
    assert [len(cut.outputs) for cut in (first, second, third)] == [8, 4, 4]
    assert all(cut.dense == (16, 16) for cut in (first, second, third))
    assert set(second.outputs.tolist()) < set(first.outputs.tolist())


def test_resume_without_a_name_takes_the_latest_or_starts_anew(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, FINETUNE + "\npruning['evaluate'] = False\ntrain_cfg['max_epochs'] = 1\n")
    tiny.call('train', config, '--work-dir', tmp_path / 'a', '--resume')
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'a')] == ['dense', 'pruned', 'finetuned']
    tiny.call('train', config, '--work-dir', tmp_path / 'a', '--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    assert (tmp_path / 'a' / 'epoch_2.pth').exists()
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'a')] == ['dense', 'pruned', 'finetuned']
    assert 'resume = False' in (tmp_path / 'a' / 'tiny.py').read_text()


def test_report_has_the_schema_of_the_design(tmp_path: Path) -> None:
    config = tiny.write_config(
        tmp_path,
        "\npruning['restorer'] = dict(type='BNRecalibration')\n"
        "pruning['images'] = 'train_dataloader'\npruning['num_images'] = 20\n",
    )
    tiny.call('train', config, '--work-dir', tmp_path)
    raw = json.loads((tmp_path / 'report.json').read_text())
    assert raw['schema_version'] == 1
    kinds = {'stages': list, 'layers': list, 'config': str, 'seed': int, 'versions': dict, 'input_shape': list}
    assert {key: type(raw[key]) for key in kinds} == kinds
    assert [stage['name'] for stage in raw['stages']] == ['dense', 'pruned', 'restored']
    for stage in raw['stages']:
        assert {key: type(stage[key]) for key in ('params', 'flops', 'nonzero_params')} == dict.fromkeys(
            ('params', 'flops', 'nonzero_params'), int
        )
        assert isinstance(stage['seconds'], float)
        assert set(stage['metrics']) == {'accuracy/top1', 'accuracy/top3'}
    for row in raw['layers']:
        assert isinstance(row['name'], str) and isinstance(row['reason'], str) and row['after'] <= row['before']
    loaded = Report.load(tmp_path / 'report.json')
    loaded.save(tmp_path / 'again.json')
    assert (tmp_path / 'again.json').read_text() == (tmp_path / 'report.json').read_text()
    assert str(Report.from_dict(raw)) == str(loaded)


def test_ordinary_training_of_a_pruned_network(tmp_path: Path) -> None:
    """Without `pruning`: nothing is cut again, the average of a moving-average hook has the new widths."""
    config = tiny.write_config(tmp_path, "\npruning['evaluate'] = False\n")
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    more = tiny.write_config(
        tmp_path,
        EMA
        + f"""
pruning = None
model = dict(model, type='mmprune.Pruned', host='ImageClassifier')
load_from = '{tmp_path}/a/pruned.pth'
""",
        'more.py',
    )
    tiny.call('train', more, '--work-dir', tmp_path / 'b')
    tiny.call('train', more, '--work-dir', tmp_path / 'c', '--resume', tmp_path / 'b' / 'epoch_1.pth')
    before, after = (read_checkpoint(tmp_path / name)['state_dict'] for name in ('a/pruned.pth', 'b/epoch_2.pth'))
    assert before._metadata[''] == after._metadata['']
    resumed = read_checkpoint(tmp_path / 'c' / 'epoch_2.pth')['state_dict']
    assert {key: value.shape for key, value in resumed.items()} == {key: value.shape for key, value in before.items()}


@pytest.mark.parametrize(
    ('line', 'stages'),
    [("del pruning['restorer']", ['dense', 'pruned', 'restored']), ('', ['dense', 'pruned'])],
    ids=['default', 'none'],
)
def test_a_config_repairs_by_default_as_python_does(tmp_path: Path, line: str, stages: list[str]) -> None:
    tiny.call('train', tiny.write_config(tmp_path, f'\n{line}\n'), '--work-dir', tmp_path / 'a')
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'a')] == stages
