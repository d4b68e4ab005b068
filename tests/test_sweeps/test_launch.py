"""Runs in processes: what is finished is not run again, what fails is told, what is interrupted stays whole."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mmengine.config import Config

from mmprune.errors import ConfigError
from mmprune.storage.lock import FILE, InUseError, locked
from mmprune.sweeps import Run, cells_of, parse_grid, rows_of, runs_of, write_array, write_tables
from mmprune.sweeps.launch import Launcher
from mmprune.sweeps.slurm import submit
from mmprune.sweeps.table import metric_of
from tests.test_engine import tiny

FAKE = Path(__file__).parent / 'fake_train.py'
GRID = ['pruning.pruner.allocator.ratio=0.3,0.5']


def report(run: Run, accuracy: float, stage: str = 'pruned') -> str:
    def of(name: str, value: float, size: int) -> dict:
        return dict(
            name=name, metrics={'accuracy/top1': value}, params=size, nonzero_params=size, flops=size, seconds=1.5
        )

    return json.dumps(dict(config=run.text, stages=[of('dense', 90.0, 1000), of(stage, accuracy, 500)]))


def runs_in(folder: Path, num_seeds: int = 2, grid: list[str] = GRID, extra: str = '') -> list[Run]:
    config = tiny.write_config(folder, extra)
    runs = runs_of(cells_of(Config.fromfile(config), parse_grid(grid)), config, folder / 'sweep', num_seeds)
    for number, run in enumerate(runs):
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / 'next.json').write_text(report(run, 80.0 + number, run.last_stage))
    return runs


def calls(run: Run) -> int:
    path = run.folder / 'calls.txt'
    return len(path.read_text().splitlines()) if path.exists() else 0


def launch(runs: list[Run], jobs: int = 2, **options: object) -> dict[Path, str]:
    with Launcher(FAKE, jobs, **options) as launcher:
        return {outcome.run.folder: outcome.state for outcome in launcher.launch(runs)}


def test_every_run_has_its_folder_and_seed(tmp_path: Path) -> None:
    runs = runs_in(tmp_path)
    assert len({run.folder for run in runs}) == 4
    assert [run.seed for run in runs] == [0, 1, 0, 1]
    assert set(launch(runs).values()) == {'done'}
    assert all(run.report() is not None for run in runs)


def test_a_finished_run_is_not_started_again(tmp_path: Path) -> None:
    runs = runs_in(tmp_path)
    launch(runs[:1])
    launch(runs)
    assert [calls(run) for run in runs] == [1, 1, 1, 1]


def test_a_report_of_another_config_or_of_half_a_run_does_not_count(tmp_path: Path) -> None:
    runs = runs_in(tmp_path)
    launch(runs)
    changed = runs_in(tmp_path, extra='\nlog_level = "ERROR"\n')
    assert all(run.report() is None for run in changed)
    tuned = runs_in(tmp_path / 'tuned', extra="\npruning['finetune'] = True\n")[0]
    (tuned.folder / 'report.json').write_text(report(tuned, 80.0, 'pruned'))
    assert tuned.report() is None and '--resume' in tuned.arguments
    (tuned.folder / 'report.json').write_text(report(tuned, 80.0, 'finetuned')[:-9])
    assert tuned.report() is None


def test_training_does_not_go_on_from_another_configs_checkpoint(tmp_path: Path) -> None:
    run, other = runs_in(tmp_path, 1, extra="\npruning['finetune'] = True\n")
    (run.folder / 'last_checkpoint').write_text('epoch_1.pth')
    (run.folder / 'report.json').write_text(report(run, 80.0, 'pruned'))  # the same config, killed half-way
    run.forget_other_config()
    assert (run.folder / 'last_checkpoint').exists()
    (run.folder / 'report.json').write_text(report(other, 80.0, 'finetuned'))
    run.forget_other_config()
    assert not (run.folder / 'last_checkpoint').exists()


def test_a_failure_is_told_and_tried_again(tmp_path: Path) -> None:
    runs = runs_in(tmp_path, 1)
    (runs[0].folder / 'fail').touch()
    with Launcher(FAKE, 1) as launcher:
        outcomes = {outcome.run.cell.name: outcome for outcome in launcher.launch(runs)}
    failed = outcomes[runs[0].cell.name]
    assert failed.state == 'failed' and 'error: told to' in failed.message and 'log.txt' in failed.message
    assert outcomes[runs[1].cell.name].state == 'done'
    (runs[0].folder / 'fail').unlink()
    launch(runs)
    assert [calls(run) for run in runs] == [2, 1]


def test_a_run_without_a_report_has_failed(tmp_path: Path) -> None:
    run = runs_in(tmp_path, 1)[0]
    (run.folder / 'next.json').unlink()
    assert launch([run])[run.folder] == 'failed'


def test_a_cell_in_which_another_process_works_is_left_alone(tmp_path: Path) -> None:
    runs = runs_in(tmp_path, 1)
    with locked(runs[0].folder):
        assert launch(runs) == {runs[0].folder: 'elsewhere', runs[1].folder: 'done'}
    assert calls(runs[0]) == 0
    assert launch(runs[:1]) == {runs[0].folder: 'done'}


def test_the_run_of_a_cell_takes_the_sweeps_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', str(tiny.ROOT))
    run = runs_in(tmp_path, 1)[0]
    (run.folder / 'lock').touch()
    assert launch([run]) == {run.folder: 'done'}
    assert not (run.folder / 'lock').exists() and not (run.folder / FILE).exists()


def test_a_running_cell_is_locked_also_when_its_sweep_is_killed(tmp_path: Path) -> None:
    run = runs_in(tmp_path, 1)[0]
    (run.folder / 'hang').touch()
    sweep = multiprocessing.get_context('fork').Process(target=launch, args=([run],))
    sweep.start()
    while not (run.folder / 'hangs').exists() or not (run.folder / 'hangs').read_text():
        time.sleep(0.01)
    try:
        for kill in (lambda: None, sweep.kill):
            kill()
            with pytest.raises(InUseError), locked(run.folder):
                pass  # a run by hand
            assert launch([run]) == {run.folder: 'elsewhere'}
        sweep.join()
    finally:
        os.kill(int((run.folder / 'hangs').read_text()), signal.SIGKILL)
    (run.folder / 'hang').unlink()
    while (state := launch([run])[run.folder]) == 'elsewhere':
        time.sleep(0.05)
    assert state == 'done' and calls(run) == 2


def test_interrupting_keeps_what_is_finished(tmp_path: Path) -> None:
    runs = runs_in(tmp_path, 1)
    (runs[1].folder / 'hang').touch()
    with pytest.raises(KeyboardInterrupt), Launcher(FAKE, 1) as launcher:
        for _ in launcher.launch(runs):
            raise KeyboardInterrupt
    assert runs[0].report() is not None and runs[1].report() is None


def test_gpus_are_shared_among_the_processes(tmp_path: Path) -> None:
    runs = runs_in(tmp_path)
    launch(runs, devices=['0', '3'])
    used = {(run.folder / 'calls.txt').read_text().strip() for run in runs}
    assert used <= {'0', '3'} and used


def test_the_table_holds_means_spreads_and_what_is_missing(tmp_path: Path) -> None:
    runs = runs_in(tmp_path)
    launch(runs[:3])
    rows = rows_of(runs)
    assert [row.seeds for row in rows] == [2, 1]
    csv_file, markdown = write_tables(rows, tmp_path)
    head, first, second = csv_file.read_text().splitlines()
    assert head.startswith('ratio,seeds,accuracy/top1 mean,accuracy/top1 std,params')
    assert first.split(',')[:3] == ['0.3', '2', '80.5'] and second.split(',')[:4] == ['0.5', '1', '82.0', '']
    text = markdown.read_text()
    assert '| 0.3 | 2 | 80.50 ± 0.71 | 500 (50.0 %) |' in text
    assert '| 0.5 | 1 of 2 | 82.00 | 500 (50.0 %) |' in text
    assert metric_of(rows) == 'accuracy/top1'
    with pytest.raises(ConfigError, match='--metric: f1 .*accuracy/top1'):
        metric_of(rows, 'f1')


def test_nothing_finished_gives_an_empty_table(tmp_path: Path) -> None:
    rows = rows_of(runs_in(tmp_path))
    assert metric_of(rows) is None
    assert '| 0.3 | 0 of 2 |' in write_tables(rows, tmp_path)[1].read_text()


def test_each_task_of_the_job_array_is_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_in(tmp_path)
    script = write_array(runs, FAKE, tmp_path / 'sweep', 'gpu', 3)
    assert '#SBATCH --array=1-4%3' in script.read_text() and '#SBATCH --partition=gpu' in script.read_text()
    monkeypatch.setenv('SLURM_ARRAY_TASK_ID', '2')
    subprocess.run(['bash', str(script)], check=True)
    assert [calls(run) for run in runs] == [0, 1, 0, 0]
    with pytest.raises(ConfigError, match='--slurm'):
        write_array(runs, FAKE, tmp_path / 'sweep', 'two words', 3)


def test_sbatch_is_asked_or_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, folder = tmp_path / 'array.sbatch', tmp_path / 'bin'
    folder.mkdir()
    monkeypatch.setenv('PATH', str(folder))
    with pytest.raises(ConfigError, match='sbatch is not on the PATH.*array.sbatch'):
        submit(script)
    (folder / 'sbatch').write_text('#!/bin/sh\necho "Submitted $1"\n')
    (folder / 'sbatch').chmod(0o755)
    assert submit(script) == f'Submitted {script}'
    (folder / 'sbatch').write_text('#!/bin/sh\necho "invalid partition" >&2\nexit 1\n')
    with pytest.raises(ConfigError, match='refused .*invalid partition'):
        submit(script)


def test_measured_times_are_in_the_table_until_the_network_changes(tmp_path: Path) -> None:
    run = runs_in(tmp_path, 1)[0]
    launch([run])
    checkpoint = run.folder / 'pruned.pth'
    checkpoint.write_bytes(b'weights')
    content = dict(stamp=checkpoint.stat().st_mtime_ns, dense=dict(p50_ms=4.0), pruned=dict(p50_ms=3.0))
    (run.folder / 'latency.json').write_text(json.dumps(content))
    rows = rows_of([run])
    assert (rows[0].costs['latency'], rows[0].shares['latency']) == (3.0, 0.75)
    csv_file, markdown = write_tables(rows, tmp_path)
    assert 'latency,seconds' in csv_file.read_text() and '3.00 (75.0 %)' in markdown.read_text()
    (run.folder / 'latency.json').write_text(json.dumps({**content, 'stamp': 1}))
    assert 'latency' not in rows_of([run])[0].costs
    (run.folder / 'latency.json').write_text('{"stamp"')
    assert 'latency' not in rows_of([run])[0].costs
