"""Budgets are met from below and used up, whatever the groups are like and whoever decides the widths."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

import mmprune
from mmprune.allocators.budget import Budget, levels_below, spend_rest
from mmprune.graph.scope import Scope
from mmprune.measure.complexity import measure
from mmprune.pruners import ChannelPruner
from mmprune.report.report import Report
from tests.networks import Classifier, ours, randomise

EXAMPLE = torch.zeros(1, 3, 8, 8)


def chain(*widths: int) -> nn.Sequential:
    """Convs of these widths, each with a norm."""
    torch.manual_seed(0)
    layers = [
        layer
        for before, after in zip((3, *widths), widths)
        for layer in (nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
    ]
    return randomise(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 4)))


class Branches(nn.Module):
    """Many residual branches, each with an inner width of its own."""

    def __init__(self, *inner: int, outer: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, outer, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(outer, width, 3, padding=1) for width in inner)
        self.up = nn.ModuleList(nn.Conv2d(width, outer, 3, padding=1) for width in inner)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images).relu()
        for down, up in zip(self.down, self.up):
            features = features + up(down(features).relu())
        return features


def depthwise() -> nn.Module:
    return randomise(torchvision.models.mobilenet_v2(width_mult=0.25))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    'many narrow layers': lambda: chain(*[4] * 12, *[3] * 12, *[5] * 12),
    'narrow branches': lambda: Branches(*[2, 3, 4] * 12),
    'one wide, many narrow': lambda: chain(64, *[4] * 10, 64),
    'ResNet-20': lambda: randomise(Classifier(ours(type='CIFARResNet', depth=20), 64)),
    'depthwise': depthwise,
}
ALLOCATORS = [
    dict(type='Uniform'),
    dict(type='Uniform', rounding='ceil'),
    dict(type='WidthDependent', min_keep=1, factors=(1.0, 1.0, 1.3)),
    dict(type='UniformPlus'),
    dict(type='ERK'),
    dict(type='Global'),
    dict(type='LAMP'),
    dict(type='RateDistortion', curves='scores'),
]


def prune(model: nn.Module, target: dict, allocator: dict, **options: object) -> Report:
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(allocator, target=target), **options)
    return mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=None, clock_s=0)


CASES = [(name, a) for name in NETWORKS for a in ALLOCATORS if name != 'depthwise' or a['type'] in ('Uniform', 'LAMP')]


@pytest.mark.parametrize(
    ('name', 'allocator'), CASES, ids=[f'{name}, {" ".join(map(str, a.values()))}' for name, a in CASES]
)
@pytest.mark.parametrize('target', [dict(params=0.9), dict(flops=0.75)], ids=str)
def test_a_budget_is_used_up_and_never_exceeded(name: str, allocator: dict, target: dict) -> None:
    report = prune(NETWORKS[name](), target, allocator)
    ((quantity, asked),) = target.items()
    dense, pruned = (getattr(stage, f'target_{quantity}') for stage in report.stages)
    assert 0.99 * asked <= pruned / dense <= asked
    budget = report.extra['budget']
    assert budget['quantity'] == quantity and budget['asked'] == asked
    assert budget['reached'] == pytest.approx(pruned / dense, rel=0.01)
    assert f'asked for {asked:.2%}' in str(report) and f'reached {budget["reached"]:.2%}' in str(report)
    assert not [warning for warning in report.warnings if 'target[' in warning]


@pytest.mark.parametrize(
    ('options', 'holds'),
    [
        (dict(round_to=4), lambda row: row.after % 4 == 0 or row.after == row.before),
        (dict(min_channels=12), lambda row: row.after >= min(12, row.before)),
        (
            dict(overrides={'backbone.layer3.0.conv1': 0.25}),
            lambda row: '3.0.conv1' not in row.name or row.after == 48,
        ),
        (dict(keep=['backbone.layer1*']), lambda row: 'layer1' not in row.name or row.after == row.before),
    ],
)
@pytest.mark.parametrize('allocator', ['Uniform', 'Global'])
def test_what_is_left_is_spent_within_the_rules_of_the_user(allocator: str, options: dict, holds: Callable) -> None:
    report = prune(NETWORKS['ResNet-20'](), dict(flops=0.8), dict(type=allocator), **options)
    assert 0.79 <= report.stages[1].target_flops / report.stages[0].target_flops <= 0.8
    assert all(holds(row) for row in report.layers)


@pytest.mark.parametrize('quantity', ['params', 'flops', 'ratio'])
@pytest.mark.parametrize('name', ['ResNet-20', 'many narrow layers'])
def test_a_criterion_that_decides_itself_uses_up_its_budget(name: str, quantity: str) -> None:
    target = {quantity: 0.2 if quantity == 'ratio' else 0.8}
    pruner = dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', target=target, inputs='noise'))
    report = mmprune.prune(NETWORKS[name](), EXAMPLE, pruner=pruner, restorer=None, clock_s=0)
    assert report.extra['budget']['asked'] == 0.8 and 0.792 <= report.extra['budget']['reached'] <= 0.8


@pytest.mark.parametrize(
    'options',
    [
        dict(allocator=dict(type='Uniform', target=dict(flops=0.5))),
        dict(criterion=dict(type='RedundancyGraph', target=dict(flops=0.5), inputs='noise')),
    ],
    ids=['allocator', 'criterion'],
)
def test_a_schedule_ends_where_a_single_step_would(options: dict) -> None:
    scope = Scope.of(NETWORKS['ResNet-20'](), EXAMPLE)
    dense, widths = measure(scope).target_flops, None
    for fraction in (0.4, 0.7, 1.0):
        plan = ChannelPruner(**options).plan(scope, None, fraction, widths)
        widths = widths or {row.name: row.before for row in plan.rows}
        plan.apply()
        assert measure(scope).target_flops / dense > 0.49
    assert measure(scope).target_flops / dense <= 0.5


def test_weights_are_spent_as_channels_are() -> None:
    pruner = dict(type='WeightPruner', allocator=dict(type='Uniform', target=dict(params=0.9), rounding='floor'))
    report = mmprune.prune(chain(*[2] * 20), EXAMPLE, pruner=pruner, restorer=None, clock_s=0)
    assert 0.89 <= report.extra['budget']['reached'] <= 0.9


def test_what_no_widths_can_reach_is_said() -> None:
    report = prune(chain(2), dict(params=0.9), dict(type='Uniform'))
    (warning,) = [warning for warning in report.warnings if 'target[' in warning]
    assert "target['params']: 0.9 was asked for and 0.5" in warning
    assert Budget('flops', 0.5, 0.49).warnings == []


def test_a_ratio_is_no_budget() -> None:
    model, again = NETWORKS['many narrow layers'](), NETWORKS['many narrow layers']()
    pruner = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.1))
    report = mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=None, clock_s=0)
    assert [row.after for row in report.layers] == [*[3] * 12, *[2] * 12, *[4] * 12, 4]
    assert 'budget' not in report.extra and 'asked for' not in str(report)
    mmprune.prune(again, EXAMPLE, pruner=copy.copy(pruner), restorer=None, clock_s=0)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))


def test_units_come_back_where_the_largest_share_is_gone() -> None:
    dense = {'wide': 100, 'narrow': 2}
    counts = {'wide': 90, 'narrow': 1}
    spent = spend_rest(counts, [dense], dense, lambda kept: sum(kept.values()) / 102, 95 / 102)
    assert spent == {'wide': 93, 'narrow': 2}
    levels = list(levels_below(0.5, lambda ratio: {'wide': round(100 * (1 - ratio))}, 0.1))
    assert levels == [{'wide': 60}, {'wide': 80}, {'wide': 100}]
