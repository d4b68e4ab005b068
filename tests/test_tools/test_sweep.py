"""tools/sweep.py end to end: real runs, once."""

from pathlib import Path
from unittest import mock

import pytest

from tests.test_engine import tiny

GRID = ['--grid', 'pruning.pruner.allocator.ratio=0.25,0.5', 'pruning.restorer.type=none']


@pytest.mark.slow
def test_a_sweep_runs_every_cell_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config, folder = tiny.write_config(tmp_path), tmp_path / 'sweep'
    tiny.call('sweep', config, '--work-dir', folder, '--latency', *GRID)
    assert '2 runs' in capsys.readouterr().out
    assert {path.name for path in folder.glob('sweep.*')} == {'sweep.csv', 'sweep.md', 'sweep.png'}
    assert 'milliseconds per image' in (folder / 'sweep.md').read_text()
    times = [path.read_bytes() for path in folder.glob('*/seed0/latency.json')]
    reports = {path: path.read_bytes() for path in folder.glob('*/seed0/report.json')}
    assert len(reports) == 2
    assert all((path.parent / 'report.html').stat().st_size > 5000 for path in reports)
    with mock.patch('subprocess.Popen', side_effect=AssertionError('a finished cell is run again')):
        tiny.call('sweep', config, '--work-dir', folder, '--latency', *GRID)
    assert len(times) == 2 and times == [path.read_bytes() for path in folder.glob('*/seed0/latency.json')]
    assert '2 finished earlier, 0 to do' in capsys.readouterr().out
    assert all(path.read_bytes() == content for path, content in reports.items())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--grid', 'pruning.pruner.ratios=0.5'], 'pruning.pruner'),
        (['--grid', 'a'], '--grid'),
        (['--seeds', '0'], '--seeds: at least 1'),
        (['--jobs', '0'], '--jobs: at least 1'),
    ],
)
def test_mistakes_are_one_line_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list, message: str
) -> None:
    config = tiny.write_config(tmp_path)
    with pytest.raises(SystemExit) as caught:
        tiny.call('sweep', config, '--work-dir', tmp_path / 'sweep', *arguments)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert caught.value.code == 2 and len(lines) == 1 and message in lines[0]
    assert not (tmp_path / 'sweep').exists()


def test_a_dry_run_prints_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tiny.call('sweep', tiny.write_config(tmp_path), '--work-dir', tmp_path / 'sweep', '--seeds', 2, '--dry-run', *GRID)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('python tools/train.py ')]
    assert len(lines) == 4 and all('pruning.restorer=None' in line for line in lines)
    assert not (tmp_path / 'sweep').exists()
