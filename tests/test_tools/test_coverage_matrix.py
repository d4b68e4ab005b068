"""The coverage matrix: what its script finds out about a case, and what it writes."""

import json
from functools import partial
from pathlib import Path

import pytest

from tools.dev import coverage_matrix, fresh
from tools.dev.coverage_cases import CLASSIFIERS, DETECTORS, Case, cases

DOCS = Path(__file__).parents[2] / 'docs'


def run(case: Case, folder: Path, seconds: float = 240) -> dict:
    return fresh.run_one(partial(coverage_matrix.check, case), folder / 'case.json', seconds, gigabytes=8)


def row(status: str, reason: str = '', **more: object) -> dict:
    return {
        'host': 'mmdet',
        'config': 'a/a.py',
        'target': 'backbone',
        'status': status,
        'reason': reason,
        'seconds': 1.0,
        'date': '2026-01-01',
        'versions': 'mmdet=3',
        **more,
    }


@pytest.mark.parametrize(
    'case',
    [
        Case('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco.py', 'backbone + neck', interface=True),
        Case('mmpretrain', 'resnet/resnet18_8xb16_cifar10.py', 'backbone'),
    ],
    ids=lambda case: case.host,
)
def test_a_case_that_works(case: Case, tmp_path: Path) -> None:
    found = run(case, tmp_path)
    assert (found['status'], found['reason']) == ('works', '')
    assert 0.3 < found['flops_left'] < 0.8 and found['cut'] > 0 and found['seconds'] > 0
    assert json.loads((tmp_path / 'case.json').read_text()) == found


def test_a_wrong_network_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage_matrix, 'TOLERANCE', -1.0)  # nothing is equal enough
    case = Case('mmpretrain', 'resnet/resnet18_8xb16_cifar10.py', 'backbone')
    found = run(case, tmp_path)
    assert found['status'] == 'wrong' and 'differ by' in found['reason']


def test_a_case_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    found = run(next(cases()), tmp_path, seconds=0.05)
    assert (found['status'], found['reason']) == ('wrong', 'takes more than 0.05 s')


def test_every_reason_is_told_once() -> None:
    rows = [
        row('works', flops_left=0.66),
        row('refused', 'why', config='b.py'),
        row('refused', 'why', config='c.py'),
        row('wrong', 'another', config='d.py'),
        row('works', 'no predict', config='e.py'),
    ]
    text = coverage_matrix.markdown(rows)
    assert '| a/a.py | ✓ 66% |' in text and '| b.py | – [1] |' in text and '| c.py | – [1] |' in text
    assert '| d.py | ✗ [2] |' in text and '| e.py | ✓ [3] |' in text
    assert '1. why' in text and '2. another' in text and '3. no predict' in text
    assert '5 cases: 2 work' in text and '2 refused, 1 wrong' in text


def test_enough_is_tried() -> None:
    everything = list(cases())
    assert len({fresh.file_of(case.name) for case in everything}) == len(everything)
    assert len(set(DETECTORS)) == len(DETECTORS) >= 40 and len(set(CLASSIFIERS)) == len(CLASSIFIERS) >= 40


def test_the_written_matrix_is_one_of_these_cases() -> None:
    rows = json.loads((DOCS / 'coverage.json').read_text())
    known = {(case.host, case.config, case.label) for case in cases()}
    tried = {(row['host'], row['config'], row['target']) for row in rows}
    assert tried <= known and len({config for host, config, _ in tried if host == 'mmdet'}) >= 40
    assert {row['status'] for row in rows} <= {'works', 'refused'}
    assert all(row['reason'] for row in rows if row['status'] == 'refused')
    assert (DOCS / 'coverage.md').read_text() == coverage_matrix.markdown(rows)
