"""Shared fixtures: where the real data lies, and one thread so that results are bit-equal."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

DATA_ROOT = Path(os.environ.get('MMPRUNE_TEST_DATA', Path(__file__).parents[2] / 'shared' / 'data'))


@pytest.fixture(scope='session')
def data_root() -> Path:
    """The folder of real images and weights; tests that need it skip where it is absent."""
    if not DATA_ROOT.is_dir():
        pytest.skip(f'real data not found at {DATA_ROOT} (set MMPRUNE_TEST_DATA)')
    return DATA_ROOT


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of what pruning computes need not wait while it is timed: a stopwatch that sees nothing."""
    monkeypatch.setattr('mmprune.pipeline.time_cut', lambda *given: None)


@pytest.fixture(autouse=True)
def _no_default_scope() -> Iterator[None]:
    """Runs set mmengine's default scope, those of module-wide fixtures too; no test builds in another's."""
    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()
