"""Pipelines of the data sets come from mmpretrain."""

import pytest
from mmengine.registry import DefaultScope

import mmprune.registry  # noqa: F401


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield
