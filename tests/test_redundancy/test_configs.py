"""The configs of the method: they load, they are short, and their recipes are the published ones."""

from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.config import Config

from mmprune.engine import prepare_config
from mmprune.registry import CRITERIA, build_part
from tests.test_models.complexity import mega_macs, parameters

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted((CONFIGS / 'redundancy_graph').glob('*.py'))
RECIPES = {  # epochs, learning rate, weight decay, step (spec of the published runs)
    'redundancy_cifar_90e': (90, 0.01, 5e-4, 30),
    'redundancy_cifar_70e': (70, 0.01, 5e-4, 30),
    'redundancy_cifar_scratch_200e': (200, 0.1, 5e-4, 50),
    'redundancy_in1k_65e': (65, 0.01, 1e-4, 30),
    'redundancy_in1k_50e': (50, 0.01, 1e-4, 20),
    'redundancy_cub_50e': (50, 0.001, 1e-5, 25),
}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_leaf_configs_load_and_build_their_criterion(path):
    cfg = Config.fromfile(path)
    if 'dense' in path.stem:
        return
    prepare_config(cfg)
    criterion = build_part(CRITERIA, cfg.pruning.pruner.criterion.to_dict(), 'criterion')
    assert (criterion.threshold is None) == (criterion.target is not None)
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 18


@pytest.mark.parametrize('name', RECIPES)
def test_recipes_are_the_published_ones(name):
    epochs, lr, weight_decay, step = RECIPES[name]
    cfg = Config.fromfile(CONFIGS / '_base_' / 'schedules' / f'{name}.py')
    optimizer = cfg.optim_wrapper.optimizer
    assert cfg.train_cfg.max_epochs == epochs
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == ('SGD', lr, 0.9, weight_decay)
    assert 'nesterov' not in optimizer
    assert (cfg.param_scheduler.type, cfg.param_scheduler.step_size, cfg.param_scheduler.gamma) == (
        'StepLR',
        step,
        0.1,
    )


def test_resnet_50_has_the_published_size():
    with torch.device('meta'):
        model = torchvision.models.resnet50()
        assert parameters(model) / 1e6 == pytest.approx(25.557, abs=5e-4)
        assert mega_macs(model, (3, 224, 224)) / 1e3 == pytest.approx(4.089, abs=5e-4)
