"""Every config of the folder loads, is short, and prunes what its name says."""

import functools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope

import mmprune
from mmprune.engine import prepare_config
from mmprune.registry import MODELS

load_once = functools.cache(load)
CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name != '_base_')
OURS = [path for path in LEAVES if path.parent.name in ('lbyl', 'moment_restoration')]
#: Parameters left, as published (VGG-16 and ResNet-50 count every parameter of the network).
PARAMETERS = {
    'lenet300-100_lbyl-l2-r50_fmnist': (266610, 125810),
    'vgg16_lbyl-l2-r30_cifar10': (14987722, 7385244),
    'resnet50_lbyl-l2-r30_cifar100': (23705252, 15093466),
}


@pytest.fixture(autouse=True)
def _metafiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever inherits from a host reads all its metafiles; most of the time of these tests otherwise."""
    monkeypatch.setattr('mmengine.config.utils.load', load_once)


def identity(path: Path) -> str:
    return f'{path.parent.name}/{path.stem}'


@pytest.mark.parametrize('path', LEAVES, ids=identity)
def test_config_is_short_and_prepares(path: Path) -> None:
    cfg = Config.fromfile(path)
    if cfg.get('pruning') is not None:
        lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith('#')]
        assert len(lines) <= 15
        assert cfg.model.type == 'mmprune.Pruned'
        prepare_config(cfg)


@pytest.mark.parametrize('path', OURS, ids=identity)
def test_name_tells_the_ratio_and_the_criterion(path: Path) -> None:
    pruner = Config.fromfile(path).pruning.pruner
    assert f'-r{round(100 * pruner.allocator.ratio)}_' in path.name
    assert {'L2Norm': '-l2-'}[pruner.criterion] in path.name


@pytest.mark.parametrize('name', PARAMETERS)
def test_published_parameter_counts(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / 'lbyl' / f'{name}.py')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    settings = cfg.pruning
    report = mmprune.prune(
        model, torch.zeros(1, *settings.input_shape), settings.target, settings.pruner, restorer=None
    )
    assert (report.stage('dense').params, report.stage('pruned').params) == PARAMETERS[name]


def test_torchvision_weights_load_completely(tmp_path: Path) -> None:
    """The ImageNet ResNets read torchvision's own key names, backbone and head."""
    from torchvision.models import resnet34

    theirs = resnet34().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / 'resnet34.pth')
    cfg = Config.fromfile(CONFIGS / 'lbyl/resnet34_lbyl-l2-r30_in1k.py')
    for part in ('backbone', 'head'):
        cfg.model[part].init_cfg.checkpoint = str(tmp_path / 'resnet34.pth')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model(images, mode='tensor'), theirs(images), atol=1e-4)
