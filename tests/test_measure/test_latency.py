"""Budgets of time, on a machine whose clock counts weights: the real one no test should trust."""

import pytest
import torch
from torch import nn

import mmprune
from mmprune.errors import ConfigError
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.measure.latency import LatencyModel, measure_latency, ratio, time_inside
from tests.test_measure.machine import EXAMPLE, Machine, network, weights


def pruner(**target: object) -> dict:
    return dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', target=target))


def test_the_target_is_met_and_used(machine: Machine) -> None:
    model, shapes = network(machine), []
    model[0][0].register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
    whole = weights(model)
    mmprune.prune(model, EXAMPLE, '', pruner(latency=0.5, shape=(2, 3, 20, 20)), restorer=None)
    assert 0.42 < weights(model) / whole <= 0.5
    assert (2, 3, 20, 20) in shapes


def test_measuring_leaves_the_network_alone(machine: Machine) -> None:
    model = network(machine)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    scope = Scope.of(model, EXAMPLE, '0')
    groups = [g for g in find_groups(model, scope.forward, scope.example, scope.targets) if g.prunable]
    meter, now_s = LatencyModel(scope, groups), machine.now_s
    assert meter.remaining({})['latency'] == 1.0 and machine.now_s == now_s
    assert meter.remaining({groups[0].name: 16})['latency'] < 1.0
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_only_time_inside_the_target_counts(machine: Machine) -> None:
    model = network(machine)
    assert time_inside(Scope(model, EXAMPLE, ('0',)), EXAMPLE) == pytest.approx(weights(model[0]))
    assert time_inside(Scope(model, EXAMPLE, ('0.0', '1')), EXAMPLE) == pytest.approx(
        weights(model[0][0]) + weights(model[1])
    )
    assert time_inside(Scope(model, EXAMPLE, ('',)), EXAMPLE) == pytest.approx(weights(model))


def test_a_target_without_a_forward_of_its_own_counts_as_the_whole_pass(machine: Machine) -> None:
    model = network(machine)
    scope = Scope(model, EXAMPLE, ('',), forward=lambda x: model[1](model[0](x)))
    assert time_inside(scope, EXAMPLE) == pytest.approx(weights(model))


def test_candidates_run_in_turn_and_warm_up(machine: Machine) -> None:
    order = []

    def call(name: str) -> None:
        order.append(name)
        machine.now_s += 1e-3 * (100 if len(order) <= 4 else {'a': 4, 'b': 2}[name])

    found = measure_latency({name: lambda name=name: call(name) for name in 'ab'}, runs=3, warmup=2)
    assert ''.join(order) == 'ab' * 5
    assert found['a'].p50_ms == pytest.approx(4) and found['b'].p95_ms == pytest.approx(2) and found['a'].runs == 3
    assert ratio(found, 'a', 'b') == pytest.approx(2)
    with pytest.raises(ValueError, match='runs: at least 1'):
        measure_latency({}, runs=0)


def test_out_of_reach_and_wrong_options(machine: Machine) -> None:
    model = network(machine)
    with pytest.raises(ConfigError, match=r"allocator\.target\['latency'\].*0\.001 cannot be reached"):
        mmprune.prune(model, EXAMPLE, '', pruner(latency=0.001), restorer=None)
    with pytest.raises(ConfigError, match=r'allocator\.target\.speed: unknown'):
        mmprune.prune(model, EXAMPLE, '', pruner(latency=0.5, speed=3), restorer=None)
    with pytest.raises(ConfigError, match=r'target\.shape'):
        mmprune.prune(model, EXAMPLE, '', pruner(latency=0.5, shape=(3, 8)), restorer=None)
    with pytest.raises(ConfigError, match=r'target\.runs'):
        mmprune.prune(model, EXAMPLE, '', pruner(latency=0.5, runs=0), restorer=None)
    masks = dict(type='WeightPruner', allocator=dict(type='Uniform', target=dict(latency=0.5)))
    with pytest.raises(ConfigError, match='masks do not make a network faster'):
        mmprune.prune(nn.Sequential(*network()), EXAMPLE, '', masks, restorer=None)
