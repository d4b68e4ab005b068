"""Runs meet full disks, each other and hostile checkpoints; what was finished before stays as it was."""

import errno
import hashlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from unittest import mock

import pytest
import torch
from mmengine.fileio import LocalBackend

from mmprune.checkpoint.reading import read_checkpoint
from mmprune.engine import cli
from mmprune.engine.resume import latest_checkpoint
from mmprune.errors import CheckpointError, ConfigError
from mmprune.storage.files import WriteError, write_atomically
from mmprune.storage.lock import locked
from tests.test_engine import tiny
from tests.test_tools.test_bad_input import error_of
from tests.test_trust.broken_files import laughs
from tests.test_trust.fuzz import VALUES, met_badly

TUNED = """
pruning.update(finetune=True, evaluate=False)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2))
"""


@pytest.fixture(scope='module', autouse=True)
def _quick() -> Iterator[None]:
    """One thread, for the runs of fixtures too, so that they are bit-equal; and no pictures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch('mmprune.engine.hooks.report_hook.plot_report'):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config and the work dir of a run of it."""
    folder = tmp_path_factory.mktemp('finished')
    config = tiny.write_config(folder, TUNED)
    tiny.call('train', config, '--work-dir', folder / 'run')
    return config, folder / 'run'


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != '.lock'}


# ---- several processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize('is_main', [True, False])
def test_one_process_writes_the_metrics_of_a_test(tmp_path: Path, finished: tuple[Path, Path], is_main: bool) -> None:
    config, run = finished
    with mock.patch('mmprune.engine.runner.is_main_process', return_value=is_main):
        tiny.call('test', config, run / 'finetuned.pth', '--work-dir', tmp_path)
    assert len(list(tmp_path.glob('*/*.json'))) == is_main


# ---- disks ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / 'a', 'old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(WriteError, match=f'{path}: cannot be written .*as it was') as caught:
            write_atomically(path, 'new' * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert path.read_text() == 'old' and [item.name for item in tmp_path.iterdir()] == ['a']


def test_a_disk_that_fills_up_during_training(finished: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config, run = finished

    def half(self: LocalBackend, data: bytes, path: str) -> None:
        if 'epoch_2' in str(path):
            Path(path).write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Path(path).write_bytes(data)

    with mock.patch.object(LocalBackend, 'put', half):
        line = error_of(capsys, 'train', config, '--work-dir', tmp_path / 'run')
    assert 'epoch_2.pth: cannot be written (No space left on device)' in line
    assert not list((tmp_path / 'run').glob('.*part'))
    assert latest_checkpoint(tmp_path / 'run').name == 'epoch_1.pth'
    tiny.call('train', config, '--work-dir', tmp_path / 'run', '--resume')
    tiny.assert_same_run(run / 'epoch_2.pth', tmp_path / 'run' / 'epoch_2.pth')


def test_training_that_diverges_ends_and_leaves_the_last_good_checkpoint(
    finished: tuple, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config, _ = finished
    rate = ['--cfg-options', 'optim_wrapper.optimizer.lr=1e30']
    line = error_of(capsys, 'train', config, '--work-dir', tmp_path, *rate)
    assert re.search(r'optim_wrapper: training diverged at iteration \d+ .*optimizer.lr.* contains NaN or Inf', line)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['pruned.pth']
    state = read_checkpoint(tmp_path / 'pruned.pth')['state_dict']
    assert all(bool(value.isfinite().all()) for value in state.values())


def test_a_work_dir_that_cannot_be_written(finished: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'file').touch()
    for place in (tmp_path / 'file' / 'run', Path('/proc/run')):
        line = error_of(capsys, 'train', finished[0], '--work-dir', place)
        assert f'{place}: cannot be written' in line


# ---- two runs ------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from mmprune.storage.lock import locked
with locked(sys.argv[1]):
    print('held', flush=True)
    input()
"""


def test_two_runs_in_one_work_dir(finished: tuple, capsys: pytest.CaptureFixture) -> None:
    config, run = finished
    (run / '.epoch_9.pth.part').write_text('left by a killed run')
    other = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(run)],
        cwd=tiny.ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert 'held\n' in iter(other.stdout.readline, '')
        assert not (run / '.epoch_9.pth.part').exists()
        before = contents(run)
        line = error_of(capsys, 'train', config, '--work-dir', run)
        assert f'work_dir: {run} is in use by another run (process {other.pid} on ' in line
        assert contents(run) == before
    finally:
        other.kill()  # SIGKILL: nothing is cleared away
        other.wait()
    assert (run / '.lock').exists()
    with locked(run):
        pass


def test_other_processes_of_a_run_hold_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / 'none', is_main=False):
        assert not (tmp_path / 'none').exists()


# ---- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'fail',
    [
        lambda: torch.empty(2**60),
        lambda: [0] * 2**59,
        lambda: (_ for _ in ()).throw(torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.50 GiB.')),
    ],
)
def test_out_of_memory_is_said_in_a_line(fail: object, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.clear_errors(lambda: list(fail()))()
    assert caught.value.code == 2
    assert 'error: out of memory' in (text := capsys.readouterr().err) and 'batch_size' in text
    with pytest.raises(RuntimeError, match='a mistake of ours'):
        cli.clear_errors(lambda: (_ for _ in ()).throw(RuntimeError('a mistake of ours')).send(None))()


# ---- checkpoints of runs -------------------------------------------------------------------------------------------


def test_the_latest_whole_checkpoint_is_found(finished: tuple, tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(finished[1]) == finished[1] / 'epoch_2.pth'
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (tmp_path / name).write_bytes((finished[1] / name).read_bytes())
    assert latest_checkpoint(tmp_path) is None  # of a run that has saved nothing yet
    for note in ('', '/elsewhere/epoch_2.pth', '../../epoch_2.pth', 'epoch_2.pth\n', '\0'):
        (tmp_path / 'last_checkpoint').write_text(note)
        assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
    (tmp_path / 'epoch_2.pth').write_bytes((finished[1] / 'epoch_2.pth').read_bytes()[:5000])
    assert latest_checkpoint(tmp_path) == tmp_path / 'epoch_1.pth'
    (tmp_path / 'epoch_1.pth').write_bytes((finished[1] / 'pruned.pth').read_bytes())
    with pytest.raises(CheckpointError, match='epoch_2.pth: .*truncated.*no earlier one'):
        latest_checkpoint(tmp_path)


def test_a_resumed_checkpoint_names_no_files_to_delete(finished: tuple, tmp_path: Path) -> None:
    """CheckpointHook removes what ``keep_ckpt_ids`` and ``best_ckpt`` name, wherever it lies."""
    config, run = finished
    victims = [tmp_path / 'epoch_victim.pth', tmp_path / 'best.pth']
    for victim in victims:
        victim.write_text('precious')
    checkpoint = read_checkpoint(run / 'epoch_1.pth')
    checkpoint['message_hub']['runtime_info'].update(
        keep_ckpt_ids=['../victim', '../../victim', 1], best_ckpt=str(victims[1]), best_score=-1.0
    )
    checkpoint['message_hub']['resumed_keys'].update(dict.fromkeys(('keep_ckpt_ids', 'best_ckpt', 'best_score'), True))
    torch.save(checkpoint, tmp_path / 'epoch_1.pth')
    best = tiny.write_config(
        tmp_path,
        TUNED
        + """
default_hooks['checkpoint'].update(save_best='accuracy/top1', rule='greater', filename_tmpl='epoch_{}.pth')
val_dataloader, val_evaluator, val_cfg = test_dataloader, test_evaluator, dict()
train_cfg.update(val_interval=1, max_epochs=4)
""",
    )
    tiny.call('train', best, '--work-dir', tmp_path / 'new', '--resume', tmp_path / 'epoch_1.pth')
    assert all(victim.read_text() == 'precious' for victim in victims)
    assert (tmp_path / 'new' / 'finetuned.pth').is_file()


@pytest.mark.slow
def test_resuming_what_no_run_wrote(finished: tuple, tmp_path: Path) -> None:
    """Any entry may be broken: an error in a line, or a run that ends."""
    config, run = finished
    draw = Random(0)
    values = [*(value for value in VALUES if value is not object), laughs(), torch.zeros(3)]

    def cases() -> object:
        while True:
            checkpoint = read_checkpoint(run / 'epoch_1.pth')
            holder, key, path = checkpoint, draw.choice(['meta', 'message_hub', 'optimizer', 'param_schedulers']), []
            while isinstance(holder[key], (dict, list)) and holder[key] and draw.random() < 0.85:
                path.append(str(key))
                holder = holder[key]
                key = draw.choice([*holder]) if isinstance(holder, dict) else draw.randrange(len(holder))
            value = draw.choice(values)
            holder[key] = value
            with io.BytesIO() as file:
                torch.save(checkpoint, file)
                yield (
                    f'{".".join(path)}.{key} = {str(value)[:40] if value != laughs() else "laughs"}',
                    resumed(file.getvalue()),
                )

    def resumed(content: bytes) -> object:
        def case() -> None:
            folder = Path(os.getcwd(), tmp_path, 'case')
            folder.mkdir(exist_ok=True)
            (folder / 'epoch_1.pth').write_bytes(content)
            errors = io.StringIO()
            with mock.patch.object(sys, 'stderr', errors):
                try:
                    tiny.call('train', config, '--work-dir', folder / 'run', '--resume', folder / 'epoch_1.pth')
                except SystemExit as stop:
                    line = next(line for line in errors.getvalue().splitlines() if line.startswith('error: '))
                    raise ConfigError(line) from stop

        return case

    counts, bad = met_badly(list(islice(cases(), int(os.environ.get('MMPRUNE_FUZZ_RESUMES', 12)))))
    assert not bad, bad


# ---- the same twice ------------------------------------------------------------------------------------------------


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != 'seconds'}
    return [without_times(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report(finished: tuple, tmp_path: Path) -> None:
    _, run = finished
    config = tiny.write_config(
        tmp_path,
        "\npruning.update(finetune=True, restorer='BNRecalibration', images=dict("
        "type='GaussianNoise', num_images=32))\n",
    )
    reports, networks = [], []
    for _ in range(2):
        tiny.call(
            'train',
            config,
            '--work-dir',
            tmp_path / 'run',
            '--seed',
            '7',
            '--deterministic',
            '--cfg-options',
            'experiment_name=same',
            f'load_from={run / "epoch_2.pth"}',
            'pruning.pruner.allocator.ratio=0.25',
        )
        torch.use_deterministic_algorithms(False)
        reports.append(json.loads((tmp_path / 'run' / 'report.json').read_text()))
        networks.append(read_checkpoint(tmp_path / 'run' / 'finetuned.pth')['state_dict'])
    first, second = reports
    for report in reports:
        report['config'] = '\n'.join(line for line in report['config'].splitlines() if 'experiment_name' not in line)
    assert without_times(first) == without_times(second)
    assert all(torch.equal(value, networks[1][key]) for key, value in networks[0].items())
    assert first['seed'] == 7 and "'deterministic': True" in first['config'] or 'deterministic=True' in first['config']
    assert {'mmprune', 'torch', 'python', 'numpy', 'mmengine'} <= set(first['versions'])
    assert first['extra']['inputs']['load_from'] == {
        'path': str(run / 'epoch_2.pth'),
        'sha256': hashlib.sha256((run / 'epoch_2.pth').read_bytes()).hexdigest(),
    }
