"""Repairs that harm are taken back and the report says so; those that help stay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmprune
from mmprune.graph.scope import Scope
from mmprune.graph.site import Site
from mmprune.models import published_keys_of, rename_published
from mmprune.registry import MODELS
from mmprune.report.report import Report
from mmprune.restorers import MomentRestoration, Restorer
from mmprune.restorers.benefit import NoiseErrors, is_harmful
from tests.networks import randomise

EXAMPLE = torch.zeros(1, 3, 16, 16)
CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'


def network(tiny: float = 1.0) -> nn.Module:
    """Convs and norms; of every other channel γ and β are tiny."""
    torch.manual_seed(0)
    layers = [
        layer
        for before, after in ((3, 16), (16, 16), (16, 16))
        for layer in (nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
    ]
    model = randomise(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight[::2] *= tiny
                module.bias[::2] *= tiny
    return model


def prune(model: nn.Module, restorer: object, ratio: float = 0.4, criterion: str = 'MomentOBS') -> Report:
    pruner = dict(type='ChannelPruner', criterion=criterion, allocator=dict(type='Uniform', ratio=ratio))
    return mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, clock_s=0)


class Scrambles(Restorer):
    """Writes noise into the readers."""

    def restore_site(self, site: Site, keep: Tensor) -> str:
        for branch in site.branches:
            branch.module.weight.data.normal_(std=10)
        return ''


class Silences(Restorer):
    """Lets nothing through any more."""

    def restore_model(self, model: nn.Module, *args: object) -> None:
        list(model.parameters())[0].data.zero_()


@pytest.mark.parametrize(
    ('make', 'name'),
    [(lambda: 'NeuronMerging', 'NeuronMerging'), (Scrambles, 'Scrambles'), (Silences, 'Silences')],
    ids=['merging of tiny scales', 'noise', 'silence'],
)
def test_a_repair_that_harms_is_taken_back(make: Callable[[], object], name: str) -> None:
    repaired, plain = network(1e-4), network(1e-4)
    report = prune(repaired, make())
    prune(plain, None)
    assert all(torch.equal(a, b) for a, b in zip(repaired.state_dict().values(), plain.state_dict().values()))
    (warning,) = [warning for warning in report.warnings if 'taken back' in warning]
    assert warning.startswith(f'restorer: {name} was taken back') and 'taken back' in report.stages[-1].note
    assert report.stages[-1].name == 'restored'
    assert {row.repair for row in report.layers if row.after < row.before} == {f'only sliced: {name} was taken back'}


@pytest.mark.parametrize('tiny', [1.0, 1e-4])
@pytest.mark.parametrize('ratio', [0.1, 0.4, 0.7])
@pytest.mark.parametrize('criterion', ['L2Norm', 'MomentOBS', 'Random'])
def test_the_default_repair_stays(criterion: str, ratio: float, tiny: float) -> None:
    report = prune(network(tiny), 'default', ratio, criterion)
    assert not [warning for warning in report.warnings if 'taken back' in warning]
    assert 'MomentRestoration' in {row.repair for row in report.layers}


@pytest.mark.slow
@pytest.mark.parametrize('ratio', [0.1, 0.5])
@pytest.mark.parametrize('criterion', ['L2Norm', 'Random'])
@pytest.mark.parametrize(
    ('name', 'weights'), [('resnet56_nm_cifar', 'resnet56_nm_cifar10'), ('resnet20_cifar', 'resnet20_cifar10')]
)
def test_repairs_of_published_networks_stay(
    data_root: Path, name: str, weights: str, criterion: str, ratio: float
) -> None:
    init_default_scope('mmpretrain')
    dense = MODELS.build(Config.fromfile(CONFIGS / f'{name}.py').model).eval()
    state = torch.load(data_root / 'weights' / f'{weights}.pth', map_location='cpu', weights_only=True)['state_dict']
    dense.load_state_dict(rename_published(state, published_keys_of(dense)), strict=True)
    pruner = dict(type='ChannelPruner', criterion=criterion, allocator=dict(type='Uniform', ratio=ratio))
    for restorer in ('default', 'LBYL', 'NeuronMerging'):
        report = mmprune.prune(
            copy.deepcopy(dense), torch.zeros(1, 3, 32, 32), 'backbone', pruner, restorer, clock_s=0
        )
        assert not [warning for warning in report.warnings if 'taken back' in warning]


def test_errors_are_those_of_the_outputs_whatever_their_scale() -> None:
    model = network()
    errors = NoiseErrors(Scope.of(model, EXAMPLE))
    assert errors.error() == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        model[-1].weight.mul_(3)
    assert errors.error() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model[-1].weight.mul_(-1)
    assert errors.error() == pytest.approx(2, abs=1e-6)
    with torch.no_grad():
        model[-1].weight[0, 0] = torch.inf
    assert errors.error() == float('inf')


def test_only_clear_harm_counts() -> None:
    assert is_harmful(0.3, 0.9) and is_harmful(1e-9, 0.5) and is_harmful(0.1, float('nan'))
    assert not is_harmful(0.3, 0.4) and not is_harmful(1e-9, 1e-3) and not is_harmful(0.9, 1.0)


def test_moments_of_images_move_the_norms_of_masked_networks() -> None:
    model = network()
    before = [value.clone() for name, value in model.state_dict().items() if name.endswith('running_var')]
    images = list(torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)).split(20))
    pruner = dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.7))
    restorer = MomentRestoration(moments='images')
    report = mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, images=images, clock_s=0)
    after = [value for name, value in model.state_dict().items() if name.endswith('running_var')]
    assert not report.warnings and all(not torch.allclose(a, b, rtol=0.01) for a, b in zip(before, after))


def test_a_network_that_is_pruned_already_is_no_dense_one() -> None:
    model = network()
    dense = sum(parameter.numel() for parameter in model.parameters())
    first = prune(model, None)
    left = sum(parameter.numel() for parameter in model.parameters()) / dense
    second = prune(model, None)
    assert not first.stages[0].note
    assert second.stages[0].note == f"already pruned: {left:.1%} of the dense network's parameters are left"
