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
def _no_scope_left_behind() -> Iterator[None]:
    """Runs of one test set mmengine's default scope; the next test must not build in it."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)
