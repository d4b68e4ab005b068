"""Classifiers built from the base configs, as a user's config builds them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

import mmprune.registry  # noqa: F401
from mmprune.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_'


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.fixture
def build_classifier() -> Callable[..., nn.Module]:
    """Build ``configs/_base_/models/NAME.py``; keywords ``backbone``, ``neck`` and ``head`` change its arguments."""

    def build(name: str, **changes: dict) -> nn.Module:
        init_default_scope('mmpretrain')
        config = Config.fromfile(CONFIGS / 'models' / f'{name}.py')
        config.merge_from_dict({'model': changes})
        return MODELS.build(config.model).eval()

    return build
