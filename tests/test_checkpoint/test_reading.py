"""Nothing in a checkpoint is executed, and whatever is wrong with one is said in a line."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler import OneCycleLR
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner.checkpoint import _load_checkpoint

from mmprune.checkpoint.reading import TRUST, read_checkpoint
from mmprune.errors import CheckpointError


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_bookkeeping_of_a_runner_is_read(tmp_path: Path) -> None:
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    numbers = {kind: np.array([1], dtype=kind) for kind in ('f4', 'f8', 'i4', 'i8', 'u1', 'u2', 'bool', 'U3')}
    torch.save({'meta': {'numbers': numbers, 'scalar': np.float64(0.5)}, 'history': history}, tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth')
    assert found['history'].mean() == 1.5 and found['history'].statistics('max', 2) == 2.0
    assert found['meta']['scalar'] == 0.5
    assert all(np.array_equal(found['meta']['numbers'][kind], value) for kind, value in numbers.items())


@pytest.mark.parametrize('strategy', ['cos', 'linear'])
def test_the_curve_of_a_learning_rate_is_read(tmp_path: Path, strategy: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = OneCycleLR(optimizer, eta_max=0.2, total_steps=10, anneal_strategy=strategy)
    torch.save({'param_schedulers': [schedule.state_dict()]}, tmp_path / 'a.pth')
    found = read_checkpoint(tmp_path / 'a.pth')['param_schedulers'][0]
    assert found == schedule.state_dict() and found['anneal_func'](0.0, 1.0, 0.5) == 0.5


@pytest.mark.parametrize('legacy', [False, True])
def test_code_is_refused_and_not_executed(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / 'executed'
    torch.save({'state_dict': _Evil(trap)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=f'could execute code .*{TRUST}=1'):
        read_checkpoint(tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='could execute code'):
        _load_checkpoint(str(tmp_path / 'a.pth'))
    assert not trap.exists()


@pytest.mark.parametrize('owner', [HistoryBuffer, OneCycleParamScheduler])
def test_getattr_is_no_way_out(tmp_path: Path, owner: type) -> None:
    class Reach:
        def __reduce__(self) -> tuple:
            return getattr, (owner, '__init__')

    torch.save({'x': Reach()}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='not allowed'):
        read_checkpoint(tmp_path / 'a.pth')


def test_trust_is_the_users_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({'x': Path('somewhere')}, tmp_path / 'a.pth')
    monkeypatch.setenv(TRUST, '1')
    assert read_checkpoint(tmp_path / 'a.pth')['x'] == Path('somewhere')


@pytest.mark.parametrize('cut', [0, 1, 100, 2000])
def test_truncated_files(tmp_path: Path, cut: int) -> None:
    torch.save({'x': torch.arange(1000)}, tmp_path / 'whole.pth')
    (tmp_path / 'a.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:cut])
    with pytest.raises(CheckpointError, match='truncated or damaged') as caught:
        read_checkpoint(tmp_path / 'a.pth')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content', [b'PK\x03\x04 nonsense', b'# a text\n' * 100, os.urandom(500), pickle.dumps([1])])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'a.pth').write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / 'a.pth')
    assert '\n' not in str(caught.value)


def test_not_a_dict_and_not_a_file(tmp_path: Path) -> None:
    torch.save(torch.ones(2), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='holds a Tensor, expected'):
        read_checkpoint(tmp_path / 'a.pth')
    for name in ('b.pth', ''):
        with pytest.raises(FileNotFoundError, match='no such checkpoint'):
            read_checkpoint(tmp_path / name)
