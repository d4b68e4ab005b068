"""The harness of the benchmarks: what it measures, and what it writes."""

import json
import logging
import sys
import time
from pathlib import Path

import pytest
import torch

from tools.benchmarks import harness


@pytest.fixture(autouse=True)
def _put_back() -> None:
    threads = torch.get_num_threads()
    yield
    logging.disable(logging.NOTSET)
    torch.set_num_threads(threads)


def case(args: object) -> harness.Case:
    calls = []

    def call(name: str, seconds: float) -> float:
        calls.append(name)
        time.sleep(seconds * args.factor)
        return float(len(calls))

    sides = {'slow': lambda: lambda: call('slow', 2e-2), 'ours': lambda: lambda: call('ours', 0)}
    return harness.Case(sides, lambda results: results['ours'] - results['slow'], {'calls': calls})


def bench(monkeypatch: pytest.MonkeyPatch, *arguments: str, **more: object) -> None:
    monkeypatch.setattr(sys, 'argv', ['benchmark', *arguments])
    harness.run('A benchmark.', {'one': case, 'two': case}, {'factor': (1.0, 0.5)}, rounds=3, **more)


def test_sides_run_in_turn_and_the_first_results_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench(monkeypatch, '--out', str(tmp_path / 'a.json'), '--note', 'busy')
    (run,) = json.loads((tmp_path / 'a.json').read_text())['runs']
    assert (
        run['note'] == 'busy'
        and run['settings'] == {'factor': 1.0, 'rounds': 3}
        and list(run['cases']) == ['one', 'two']
    )
    row = run['cases']['one']
    assert row['calls'] == ['slow', 'ours'] * 4 and row['difference'] == 1  # a warm-up and three rounds
    assert row['sides']['slow']['p50_ms'] >= 20 > row['sides']['ours']['p50_ms'] and row['times_faster']['ours'] > 1


def test_a_run_is_added_to_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / 'a.json'
    for more in ([], ['--append'], ['--append', '--cases', 't*']):
        bench(monkeypatch, '--quick', '--out', str(out), *more)
    runs = json.loads(out.read_text())['runs']
    assert [list(run['cases']) for run in runs] == [['one'], ['one'], ['two']]
    assert runs[0]['settings'] == {'factor': 0.5, 'rounds': 1}


def test_a_quick_run_leaves_the_recorded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench(monkeypatch, '--quick', out=tmp_path / 'recorded.json')
    assert not list(tmp_path.iterdir())
    bench(monkeypatch, '--cases', 'one', out=tmp_path / 'recorded.json')
    assert list(tmp_path.iterdir())
