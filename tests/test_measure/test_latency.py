"""Budgets of time; a clock that counts weights stands in for the machine's, which no test should trust."""

import pytest
import torch
from torch import nn

import mmprune
from mmprune.errors import ConfigError
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.measure import latency
from mmprune.measure.latency import LatencyModel
from mmprune.registry import PRUNERS, build_part

EXAMPLE = torch.zeros(1, 3, 16, 16)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, 32, 3, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        ),
        nn.Conv2d(32, 4, 1),
    ).eval()


def pruner(**target: object) -> dict:
    return dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', target=target))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Time is the number of weights inside the targets; the shapes of the inputs are written down."""
    shapes = []

    def count(scope: Scope, example: torch.Tensor) -> float:
        shapes.append(tuple(example.shape))
        scope.forward(example)
        return float(
            sum(p.numel() for target in scope.targets for p in scope.model.get_submodule(target).parameters())
        )

    monkeypatch.setattr(latency, '_time_inside', count)
    return shapes


def test_the_target_is_met_and_used(clock: list) -> None:
    model = network()
    whole = sum(p.numel() for p in model.parameters())
    mmprune.prune(model, EXAMPLE, '', pruner(latency=0.5, shape=(2, 3, 20, 20)), restorer=None)
    assert 0.42 < sum(p.numel() for p in model.parameters()) / whole <= 0.5
    assert set(clock) == {(2, 3, 20, 20)}


def test_measuring_leaves_the_network_alone(clock: list) -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scope = Scope.of(model, EXAMPLE, '0')
    groups = [g for g in find_groups(model, scope.forward, scope.example, scope.targets) if g.prunable]
    meter = LatencyModel(scope, groups)
    assert meter.remaining({})['latency'] == 1.0 and not clock
    assert meter.remaining({groups[0].name: 16})['latency'] < 1.0
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_only_time_inside_the_target_counts() -> None:
    """The real clock: a slow layer outside the target must not count, so the cut target is all that is compared."""
    calls = []

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            torch.randn(400, 400).matmul(torch.randn(400, 400))
            return x

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Slow())
    inside = min(latency._time_inside(Scope(model, EXAMPLE, ('0',)), EXAMPLE) for _ in range(5))
    whole = min(latency._time_inside(Scope(model, EXAMPLE, ('',)), EXAMPLE) for _ in range(5))
    assert len(calls) == 10 and inside < whole


def test_out_of_reach_and_wrong_options(clock: list) -> None:
    with pytest.raises(ConfigError, match=r"allocator\.target\['latency'\].*0\.001 cannot be reached"):
        mmprune.prune(network(), EXAMPLE, '', pruner(latency=0.001), restorer=None)
    with pytest.raises(ConfigError, match=r'allocator\.target: give one quantity'):
        mmprune.prune(network(), EXAMPLE, '', pruner(latency=0.5, speed=3), restorer=None)
    with pytest.raises(ConfigError, match=r'target\.shape'):
        mmprune.prune(network(), EXAMPLE, '', pruner(latency=0.5, shape=(3, 8)), restorer=None)
    with pytest.raises(ConfigError, match=r'target\.runs'):
        mmprune.prune(network(), EXAMPLE, '', pruner(latency=0.5, runs=0), restorer=None)
    with pytest.raises(ConfigError, match='masks do not make a network faster'):
        mmprune.prune(
            network(),
            EXAMPLE,
            '',
            dict(type='WeightPruner', allocator=dict(type='Uniform', target=dict(latency=0.5))),
            restorer=None,
        )


def shares(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> None:
    """A clock that says the same whatever runs."""
    monkeypatch.setattr('mmprune.pipeline.CLOCK_S', 0.01)
    monkeypatch.setattr('mmprune.pipeline.time_cut', lambda scope, trial, seconds: (before, after))


@pytest.mark.parametrize('restorer', [None, 'MomentRestoration'])
def test_the_report_shows_time_beside_flops(monkeypatch: pytest.MonkeyPatch, restorer: str | None) -> None:
    shares(monkeypatch, 8.0, 4.0)
    report = mmprune.prune(
        network(),
        EXAMPLE,
        '',
        dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)),
        restorer=restorer,
    )
    assert [stage.target_ms for stage in report.stages] == [8.0, *[4.0] * (len(report.stages) - 1)]
    assert 'target time' in str(report) and '4 ms (50.0 %)' in str(report) and not report.warnings


@pytest.mark.parametrize(
    'ratio, inside, reason',
    [
        (0.5, 0.1, '90% of its time is spent outside the layers that were cut'),
        (0.4, 0.9, 'no multiple of 8; set pruner.round_to=8'),
        (0.5, 0.9, 'wait for memory'),
    ],
)
def test_a_cut_that_is_not_faster_is_explained(
    monkeypatch: pytest.MonkeyPatch, ratio: float, inside: float, reason: str
) -> None:
    shares(monkeypatch, 8.0, 7.9)
    monkeypatch.setattr(latency, '_share_inside', lambda scope, names: inside)
    report = mmprune.prune(
        network(), EXAMPLE, '', dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=ratio)), restorer=None
    )
    (warning,) = [text for text in report.warnings if 'of its time on this device' in text]
    assert reason in warning and 'take 99% of its time' in warning and '1×3×16×16' in warning


def test_a_cut_that_saves_what_it_promises_is_not_warned_about() -> None:
    assert latency.is_slow(0.5, 0.9) and latency.is_slow(0.5, 1.2)
    assert not latency.is_slow(0.5, 0.6) and not latency.is_slow(0.99, 1.0)


def test_timing_a_cut_leaves_the_network_alone() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scope = Scope.of(model, EXAMPLE, '0')
    pruner = build_part(PRUNERS, dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)), 'pruner')
    plan = pruner.plan(scope)
    assert all(value > 0 for value in latency.time_cut(scope, plan.trial, 0.01))
    assert 0 < latency._share_inside(scope, {name for row in plan.rows for name in row.members}) <= 1
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], value) for key, value in before.items())
