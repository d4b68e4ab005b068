"""Every registered part meets bad numbers: they are refused by the name of their layer, or the result is sound."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

import mmprune
from mmprune.errors import ConfigError
from mmprune.registry import ALLOCATORS, CRITERIA, RESTORERS
from tests.test_trust.small import EXAMPLE, UNIFORM, assert_sound, images, network, part


def fill(module: str, tensor: str, value: float, count: int = 3) -> Callable[[nn.Module], None]:
    def spoil(model: nn.Module) -> None:
        with torch.no_grad():
            getattr(model.get_submodule(module), tensor)[:count] = value

    return spoil


#: What cannot be pruned, and the tensor that the message must name.
REFUSED = {
    'NaN in a conv': (fill('3', 'weight', math.nan, 1), r'3\.weight contains NaN or Inf'),
    'Inf in a conv': (fill('0', 'weight', math.inf, 1), r'0\.weight contains NaN or Inf'),
    'NaN behind all groups': (fill('10', 'weight', math.nan, 1), r'10\.weight contains NaN or Inf'),
    'NaN in a scale': (fill('1', 'weight', math.nan, 1), r'1\.weight contains NaN or Inf'),
    'Inf in a mean': (fill('4', 'running_mean', math.inf, 1), r'4\.running_mean contains NaN or Inf'),
    'NaN in a variance': (fill('4', 'running_var', math.nan, 1), r'4\.running_var contains NaN or Inf'),
    'negative variance': (fill('1', 'running_var', -1e-3, 2), r'1\.running_var has negative variances'),
    'weights that overflow': (fill('3', 'weight', 3e38), r'NaN or Inf for random images, first in 3;'),
}
#: What can be pruned, and the warning that must name the layer.
HANDLED = {
    'no variance': (fill('1', 'running_var', 0.0, 8), r'zero variance.*: 1 \(8 of 8\)'),
    'scales of zero': (fill('1', 'weight', 0.0, 8), r'dead: 1 \(8 of 8\)'),
    'dead channels': (fill('3', 'weight', 0.0), r'dead: 3 \(3 of 8\)'),
    'tiny weights': (fill('0', 'weight', 1e-40, 8), ''),
    'large weights': (fill('0', 'weight', 1e15, 8), ''),
}


def settings() -> list:
    """One setting per criterion, restorer and allocator (with both pruners), the rest as plain as can be."""
    channel = dict(type='ChannelPruner', allocator=UNIFORM, min_channels=1)
    found = [
        (f'criterion {name}', dict(channel, criterion=part(name), keep=['6'] if name == 'BNScale' else ()), None)
        for name in sorted(CRITERIA.module_dict)
    ]
    found += [(f'restorer {name}', channel, name) for name in sorted(RESTORERS.module_dict)]
    found.append(('restorer on images', channel, dict(type='MomentRestoration', moments='images')))
    found.append(('restorer with control', channel, dict(type='BNRecalibration', control=True)))
    for name in sorted(ALLOCATORS.module_dict):
        found.append((f'allocator {name}', dict(channel, allocator=part(name, ratio=0.5)), None))
        if name != 'WidthDependent':
            found.append((f'weights {name}', dict(type='WeightPruner', allocator=part(name, ratio=0.5)), None))
    return [pytest.param(pruner, restorer, id=id) for id, pruner, restorer in found]


@pytest.mark.parametrize(('pruner', 'restorer'), settings())
def test_what_cannot_be_pruned_is_refused_by_name(pruner: dict, restorer: object) -> None:
    for name, (spoil, message) in REFUSED.items():
        model = network()
        spoil(model)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(ConfigError, match=message):
            mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, images=images())
        after = model.state_dict()
        assert all(torch.equal(value, after[key]) or value.isnan().any() for key, value in before.items()), name


@pytest.mark.parametrize(('pruner', 'restorer'), settings())
def test_odd_networks_are_pruned_soundly(pruner: dict, restorer: object) -> None:
    for name, (spoil, message) in HANDLED.items():
        model = network()
        spoil(model)
        report = mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, images=images())
        assert_sound(model)
        assert not message or any(re.search(message, text) for text in report.warnings), name


@pytest.mark.parametrize(('pruner', 'restorer'), settings())
def test_constant_images(pruner: dict, restorer: object) -> None:
    model = network()
    mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, images=images(constant=True))
    assert_sound(model)


@pytest.mark.parametrize('restorer', ['BNRecalibration', dict(type='MomentRestoration', moments='images')])
def test_images_with_nan_are_refused(restorer: object) -> None:
    bad = images()
    bad[1][0, 0, 0, 0] = math.nan
    with pytest.raises(ConfigError, match='NaN or Inf'):
        mmprune.prune(
            network(), EXAMPLE, pruner=dict(type='ChannelPruner', allocator=UNIFORM), restorer=restorer, images=bad
        )


class _MasksOutputs(nn.Module):
    """Has a buffer that is no number on purpose, and returns scores of -inf for what is not wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.register_buffer('unknown', torch.full((4,), math.nan))
        self.register_buffer('mask', torch.tensor([0.0, -math.inf, 0.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.mask


def group_norms() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)
    )


def frozen_norms() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), FrozenBatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)
    )


def without_statistics() -> nn.Sequential:
    model = network()
    model[1] = nn.BatchNorm2d(8, affine=False)
    model[4] = nn.BatchNorm2d(8, track_running_stats=False)
    return model


@pytest.mark.parametrize(
    'build',
    [
        group_norms,
        frozen_norms,
        without_statistics,
        _MasksOutputs,
        lambda: network().double(),
        lambda: network().train(),
        lambda: network().to(torch.bfloat16),
    ],
)
def test_what_is_unusual_but_meant_is_not_refused(build: Callable[[], nn.Module]) -> None:
    model = build()
    report = mmprune.prune(
        model, EXAMPLE, pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=UNIFORM), restorer=None
    )
    assert any(row.after < row.before for row in report.layers)
    assert ('NaN or Inf for random images, in an operation' in ' '.join(report.warnings)) == (build is _MasksOutputs)


def test_frozen_statistics_are_looked_at_too() -> None:
    model = frozen_norms()
    model[1].running_var[2] = math.nan
    with pytest.raises(ConfigError, match=r'1\.running_var contains NaN or Inf \(1 of 8'):
        mmprune.prune(model, EXAMPLE, pruner=dict(type='ChannelPruner', allocator=UNIFORM))


def test_layers_of_zeros_are_meant_at_initialisation() -> None:
    model = network()
    with torch.no_grad():
        model[10].weight.zero_()
    report = mmprune.prune(model, EXAMPLE, pruner=dict(type='ExpanderPruner', graph='XNet', degree=2))
    assert not any('dead' in text for text in report.warnings)


def test_the_layer_that_overflows_first_is_named() -> None:
    """Not the ones behind it, which only pass the damage on."""
    model = network()
    with torch.no_grad():
        model[3].weight.fill_(1e30)
        model[6].weight.fill_(1e30)
    with pytest.raises(ConfigError, match='first in 6;'):
        mmprune.prune(model, EXAMPLE, pruner=dict(type='ChannelPruner', allocator=UNIFORM))
