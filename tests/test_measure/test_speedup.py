"""What is said of a cut that is not faster, on a machine that is as quick and as noisy as a test wants it."""

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

import mmprune
from mmprune.graph.scope import Scope
from mmprune.measure.speedup import MOST_PAIRS, CutTimes, is_slow, share_inside, time_cut, why_slow
from mmprune.registry import PRUNERS, build_part
from tests.test_measure.machine import EXAMPLE, Machine, network

HALF = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5))


def run(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    milliseconds: Callable[[nn.Module], float],
    ratio: float = 0.5,
    restorer: str | None = None,
) -> mmprune.report.report.Report:
    """Prune a network all of whose time is spent in its first convs, with the report's clock running."""
    monkeypatch.setattr('mmprune.pipeline.time_cut', time_cut)  # the real one
    model = network()
    machine.work(model[0][3], milliseconds)
    allocator = dict(type='Uniform', ratio=ratio)
    return mmprune.prune(model, EXAMPLE, '', dict(type='ChannelPruner', allocator=allocator), restorer=restorer)


def warnings_of_time(report: mmprune.report.report.Report) -> list[str]:
    return [text for text in report.warnings if 'of its time on this device' in text]


@pytest.mark.parametrize('restorer', [None, 'MomentRestoration'])
def test_the_report_shows_time_beside_flops(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, restorer: str | None
) -> None:
    report = run(machine, monkeypatch, lambda conv: conv.out_channels / 4, restorer=restorer)
    assert [stage.target_ms for stage in report.stages] == [8.0, *[4.0] * (len(report.stages) - 1)]
    assert 'target time' in str(report) and '4 ms (50.0 %)' in str(report) and not report.warnings


@pytest.mark.parametrize('ratio, reason', [(0.4, 'no multiple of 8; set pruner.round_to=8'), (0.5, 'wait for memory')])
def test_a_cut_that_is_not_faster_is_explained(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ratio: float, reason: str
) -> None:
    report = run(machine, monkeypatch, lambda conv: 8.0 if conv.out_channels == 32 else 7.9, ratio)
    (warning,) = warnings_of_time(report)
    assert reason in warning and 'take 99% of its time' in warning and '1×3×16×16' in warning


def test_time_outside_the_cut_layers_is_the_first_reason(machine: Machine) -> None:
    model = network()
    for layer, milliseconds in ((model[0][0], 1.0), (model[0][3], 3.0), (model[1], 6.0)):
        machine.work(layer, lambda module, milliseconds=milliseconds: milliseconds)
    scope = Scope.of(model, EXAMPLE)
    assert share_inside(scope, {'0.0', '0.3'}) == pytest.approx(0.4)
    assert why_slow(scope, {'0.0', '0.3'}, [(32, 20)]).startswith('60% of its time is spent outside the layers')
    assert why_slow(scope, {'0.3', '1'}, [(32, 20), (32, 16), (20, 12)]).startswith('1 of 3 new widths')


def test_a_cut_that_saves_what_it_promises_is_not_warned_about() -> None:
    assert is_slow(0.5, 0.9) and is_slow(0.5, 1.2)
    assert not is_slow(0.5, 0.6) and not is_slow(0.99, 1.0)


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('dense_ms, cut_ms, warns', [(8.0, 7.9, True), (8.0, 4.0, False)])
def test_what_is_said_does_not_change_from_run_to_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, seed: int, dense_ms: float, cut_ms: float, warns: bool
) -> None:
    """Every run takes up to a tenth longer than it should, one in five three times as long."""
    noise = random.Random(seed)

    def milliseconds(conv: nn.Module) -> float:
        quiet = dense_ms if conv.out_channels == 32 else cut_ms
        return quiet * (1 + noise.random() / 10) * (3 if noise.random() < 0.2 else 1)

    assert bool(warnings_of_time(run(machine, monkeypatch, milliseconds))) == warns


@pytest.mark.parametrize('seed', range(20))
def test_nothing_is_said_where_noise_drowns_the_difference(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Half of the time is saved, but other work on the machine takes up to twenty times as much."""
    noise = random.Random(seed)
    report = run(machine, monkeypatch, lambda conv: conv.out_channels / 4 + 80 * noise.random() ** 2)
    assert not warnings_of_time(report)


def test_certainty_grows_with_pairs_and_shrinks_with_noise() -> None:
    few, quiet, noisy = (CutTimes([10.0] * n, [9.0] * n) for n in (5, 6, 20))
    assert few.ratio == quiet.ratio == 0.9
    assert few.surely_left == 0.0 and quiet.surely_left == 0.9
    noisy.after[:8] = [5.0] * 8
    assert noisy.ratio == 0.9 and noisy.surely_left == 0.5
    drifting = CutTimes([10.0, 20.0, 40.0] * 3, [9.0, 18.0, 36.0] * 3)
    assert drifting.ratio == drifting.surely_left == pytest.approx(0.9)


@pytest.mark.parametrize(
    'dense_ms, cut_ms, pairs',
    [
        (1.0, 0.9, MOST_PAIRS),  # quick networks run often
        (500.0, 100.0, 2),  # slow ones until the time is over, when they are plainly faster
        (500.0, 450.0, 6),  # or have run often enough to tell
        (5000.0, 4900.0, 1),  # unless that takes too long
    ],
)
def test_how_often_a_cut_is_timed(machine: Machine, dense_ms: float, cut_ms: float, pairs: int) -> None:
    model = network()
    machine.work(model, lambda net: dense_ms if net[0][0].out_channels == 32 else cut_ms)
    scope = Scope.of(model, EXAMPLE)
    times = time_cut(scope, build_part(PRUNERS, HALF, 'pruner').plan(scope).trial, 1.5)
    assert len(times.before) == len(times.after) == pairs
    assert times.before_ms == pytest.approx(dense_ms) and times.ratio == pytest.approx(cut_ms / dense_ms)


def test_timing_a_cut_leaves_the_network_alone() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scope = Scope.of(model, EXAMPLE, '0')
    plan = build_part(PRUNERS, HALF, 'pruner').plan(scope)
    times = time_cut(scope, plan.trial, 0.01)
    assert all(value > 0 for value in (*times.before, *times.after))
    assert 0 < share_inside(scope, {name for row in plan.rows for name in row.members}) <= 1
    after = model.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[key], value) for key, value in before.items())
