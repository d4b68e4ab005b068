"""Every mistake in the input is one line that names the key, exit code 2, and no earlier file changes."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from mmprune.checkpoint.reading import read_checkpoint
from tests.test_engine import tiny

QUICK = "\npruning['evaluate'] = False\n"


def error_of(capsys: pytest.CaptureFixture, tool: str, *arguments: object) -> str:
    """The one line that a failing tool writes to stderr."""
    with pytest.raises(SystemExit) as caught:
        tiny.call(tool, *arguments)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert caught.value.code == 2
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('pruning.target=spine', r"pruning.target: .*'spine'.*backbone"),
        ('pruning.target=5', 'pruning.target: a module path.*got 5'),
        ('pruning.pruner.allocator.ratio=1.0', r'pruner.allocator.*ratio: .*\[0, 1\) or None, got 1.0'),
        ('pruning.pruner.allocator.ratio=-0.1', r'pruner.allocator.*ratio.*\[0, 1\)'),
        ('pruning.pruner.allocator.ratio=much', r'pruner.allocator.*ratio.*\[0, 1\)'),
        (
            'pruning.pruner.allocator.ratio=0.99',
            r'pruning.pruner.allocator.ratio: 0.99 leaves no channel .*pruner.min_channels',
        ),
        ("pruning.pruner.keep=['*.conv9']", r"pruning.pruner.keep: the pattern '\*.conv9' matches no module"),
        ('pruning.pruner.overrides.nothing=0.5', "pruning.pruner.overrides: the pattern 'nothing' matches no"),
        (
            'pruning.pruner.type=ChanelPruner',
            "pruning.pruner.type: .*'ChanelPruner' is unknown, did you mean 'ChannelPruner'. there are",
        ),
        ('pruning.pruner.criterion=L3Norm', 'pruning.pruner.criterion.type: .*L3Norm.*L2Norm'),
        ('pruning.pruner.criteron=L2Norm', "pruning.pruner.criteron: unknown, did you mean 'criterion'"),
        ('pruning.pruner.allocator.type=Even', 'pruning.pruner.allocator.type: .*Even.*Uniform'),
        (
            'pruning.pruner.round=8',
            "pruning.pruner.round: unknown, did you mean 'round_to'. known keys: round_to, allocator",
        ),
        ('pruning.pruner=ChannelPruner', 'pruning.pruner.allocator: missing'),
        ('pruning.restorer=Magic', 'pruning.restorer.type: .*Magic.*BNRecalibration'),
        ('pruning.restorer=BNRecalibration', 'pruning.images: BNRecalibration needs images'),
        ('pruning.images=somewhere', "pruning.images: 'train_dataloader'.*DeepInversion.* or None, got 'somewhere'"),
        ('pruning.images=val_dataloader', 'pruning.images: this config has no val_dataloader'),
        ('pruning.num_images=0', 'pruning.num_images: .*at least 1, got 0'),
        ('pruning.finetune=maybe', "pruning.finetune: True or False, got 'maybe'"),
        ('pruning.input_shape=[3,16]', r'pruning.input_shape: \(channels, height, width\)'),
        ('pruning.tuning=True', 'pruning.tuning: unknown; known keys: .*finetune'),
        ('pruning.schedule=cubic', "pruning.schedule: a dict such as .*got 'cubic'"),
        ('pruning.schedule.steps=3', 'pruning.schedule'),
        ('pruning=none', 'pruning: this config has none'),
        ('model.type=ImageClasifier', "model.host: 'ImageClasifier' is not registered"),
        ('model.backbone.type=mmprune.CIFARNet', "model.backbone.type: 'mmprune.CIFARNet' is not registered"),
        ('model.backbone.depht=20', "model.backbone: CIFARResNet .*'depht'"),
        ('load_from=missing.pth', 'load_from: missing.pth: no such checkpoint'),
    ],
)
def test_wrong_values(tmp_path: Path, capsys: pytest.CaptureFixture, option: str, message: str) -> None:
    config = tiny.write_config(tmp_path, QUICK)
    line = error_of(capsys, 'train', config, '--work-dir', tmp_path / 'run', '--cfg-options', option)
    assert re.search(message, line), line
    assert not list(tmp_path.glob('run/*.*'))  # nothing but logs


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            ['pruning.schedule.type=linear', 'pruning.schedule.steps=5'],
            'pruning.schedule: its last step .*ends after 2',
        ),
        (['pruning.schedule.type=spiral'], "pruning.schedule.type: 'one-shot'.*'exponential', got 'spiral'"),
        (['pruning.schedule.begin=3'], 'pruning.schedule: its last step is due before epoch 3'),
        (['optim_wrapper=None'], 'optim_wrapper: missing, it is needed to fine-tune; .*pruning.finetune=False'),
        (
            [
                'train_cfg.by_epoch=False',
                'train_cfg.max_epochs=None',
                'train_cfg.max_iters=4',
                'pruning.schedule.begin=1',
            ],
            'pruning.schedule: counts epochs',
        ),
    ],
)
def test_wrong_values_of_fine_tuning(
    tmp_path: Path, capsys: pytest.CaptureFixture, options: list, message: str
) -> None:
    config = tiny.write_config(tmp_path, QUICK + "\npruning['finetune'] = True\n")
    line = error_of(capsys, 'train', config, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert re.search(message, line), line


def test_test_data_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    extra = "\ntest_dataloader['dataset'] = dict(type='mmprune.ArrayDataset', ann_file='{}', pipeline=[])\n"
    config = tiny.write_config(tmp_path, extra.format(tmp_path / 'gone.npz'))
    line = error_of(capsys, 'train', config, '--work-dir', tmp_path / 'run')
    assert 'gone.npz' in line and 'test_dataloader' in line and 'pruning.evaluate=False' in line
    config = tiny.write_config(tmp_path, '\ntest_dataloader = None\n')
    line = error_of(capsys, 'train', config, '--work-dir', tmp_path / 'run')
    assert line.startswith('error: test_dataloader: missing') and 'pruning.evaluate=False' in line
    assert 'test_dataloader' in error_of(capsys, 'test', config, tmp_path / 'x.pth', '--work-dir', tmp_path)


def test_wrong_configs_and_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'no such config' in error_of(capsys, 'train', tmp_path / 'none.py')
    for name, text, message in (
        ('syntax.py', 'a = (', 'cannot be read as a config'),
        ('base.py', "_base_ = 'mmdet::nothing.py'", 'cannot be read as a config'),
        ('name.py', 'a = b', 'cannot be read as a config'),
        (
            'model.py',
            "pruning = dict(pruner=dict(type='WeightPruner', allocator=dict("
            "type='Uniform', ratio=0.5)), evaluate=False)",
            'model: needs a `type`',
        ),
    ):
        (tmp_path / name).write_text(text)
        assert message in error_of(capsys, 'train', tmp_path / name, '--work-dir', tmp_path / 'run')
    config = tiny.write_config(tmp_path, QUICK)
    assert '--resume: nothing to resume' in error_of(capsys, 'train', config, '--resume')
    assert '--cfg-options' in error_of(capsys, 'train', config, '--cfg-options', 'pruning.target.x=1')
    monkeypatch.delenv('RANK', raising=False)
    assert 'tools/dist_train.sh' in error_of(capsys, 'train', config, '--launcher', 'pytorch')
    with pytest.raises(SystemExit) as caught:
        tiny.call('train', config, '--cfg-options', 'novalue')
    assert caught.value.code == 2 and 'expected KEY=VALUE' in capsys.readouterr().err
    config = tiny.write_config(tmp_path, QUICK + "\npruning['finetune'] = True\n")
    if not torch.cuda.is_available():
        assert '--amp: needs a GPU' in error_of(capsys, 'train', config, '--amp')


def test_bad_checkpoints_leave_earlier_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tiny.write_config(tmp_path, QUICK)
    run = tmp_path / 'run'
    tiny.call('train', config, '--work-dir', run)
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert {path.name for path in before} >= {'pruned.pth', 'report.json', 'tiny.py'}

    good = (run / 'pruned.pth').read_bytes()
    (tmp_path / 'truncated.pth').write_bytes(good[: len(good) // 2])
    (tmp_path / 'empty.pth').touch()
    checkpoint = read_checkpoint(run / 'pruned.pth')
    checkpoint['state_dict']._metadata['']['mmprune'] = (
        checkpoint['state_dict']._metadata['']['mmprune'].replace('"out":[', '"out":[-7,', 1)
    )
    torch.save(checkpoint, tmp_path / 'indices.pth')
    torch.save({'meta': {}, 'state_dict': {'backbone.conv1.weight': torch.ones(4, 3, 5, 5)}}, tmp_path / 'other.pth')

    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'state_dict': Evil()}, tmp_path / 'evil.pth')
    for name, message in (
        ('truncated', 'truncated or damaged'),
        ('empty', 'truncated or damaged'),
        ('missing', 'no such checkpoint'),
        ('evil', 'could execute code'),
        ('indices', '"out" must rise within'),
        ('other', 'backbone.conv1.weight: the checkpoint holds shape (4, 3, 5, 5), the network'),
    ):
        path = tmp_path / f'{name}.pth'
        line = error_of(capsys, 'train', config, '--work-dir', run, '--cfg-options', f'load_from={path}')
        assert message in line
        assert message in error_of(capsys, 'test', config, path, '--work-dir', run)
        assert line.startswith('error: load_from: ') and str(path) in line
    line = error_of(
        capsys,
        'train',
        config,
        '--work-dir',
        run,
        '--resume',
        run / 'pruned.pth',
        '--cfg-options',
        'pruning.finetune=True',
    )
    assert line.startswith('error: --resume: ') and 'no run to resume' in line and 'load_from' in line
    assert not (tmp_path / 'executed').exists()
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_folders_of_a_single_class_stop(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / 'val' / 'images'
    folder.mkdir(parents=True)
    (folder / 'one.jpg').write_bytes(b'')
    data = f"dict(type='CustomDataset', data_root={str(tmp_path)!r}, data_prefix='val', with_label=True, pipeline=[])"
    config = tiny.write_config(tmp_path, f"test_dataloader['dataset'] = {data}\n")
    line = error_of(capsys, 'train', config, '--work-dir', tmp_path / 'run')
    assert 'CustomDataset finds a single class in' in line and "'images'" in line


@pytest.mark.parametrize(
    ('part', 'message'),
    [
        (
            dict(type='ResNet', depth=32),
            r'error: model.backbone: ResNet: invalid depth 32 .*; there are 18, 34, 50, 101, 152',
        ),
        (dict(type='mmprune.CIFARResNet', depth=33), r'error: model.backbone: .*depth=33 is not one of'),
        (dict(type='VGG', depth=12), r'error: model.backbone: VGG: .*12.*; there are 11, 13, 16, 19'),
    ],
)
def test_what_a_host_refuses_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, part: dict, message: str
) -> None:
    config = tiny.write_config(tmp_path, f"{QUICK}model['backbone'] = {part!r}\n")
    for tool, *more in (('train',), ('prune', '--dry-run'), ('analyze', 'groups')):
        arguments = [*more, config] if tool == 'analyze' else [config, *more]
        line = error_of(capsys, tool, *arguments, '--work-dir', tmp_path / 'run')
        assert re.match(message, line), line


def test_an_exponential_schedule_and_its_ratio_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    extra = "pruning.update(finetune=True, schedule=dict(type='exponential', steps=2, amount=0.2))\n"
    line = error_of(capsys, 'train', tiny.write_config(tmp_path, QUICK + extra), '--work-dir', tmp_path / 'run')
    assert 'pruning.schedule.amount: 2 steps' in line and 'remove 0.36 in all' in line and 'amount=0.2929' in line


@pytest.mark.parametrize('content', [{'layer1': [0, 1]}, [1, 2], {'groups': {}}])
def test_pruning_information_of_others_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, content: object
) -> None:
    (tmp_path / 'info.json').write_text(json.dumps(content))
    structure = str(tmp_path / 'info.json')
    extra = f"pruning['pruner'] = dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', structure={structure!r}), allocator=dict(type='Uniform', ratio=0.5))\n"  # noqa: E501
    line = error_of(capsys, 'train', tiny.write_config(tmp_path, QUICK + extra), '--work-dir', tmp_path / 'run')
    assert 'structure: ' in line and 'is no pruning information' in line and 'KeyError' not in line
