"""The record of what was kept: JSON in and out, applied, composed, refused."""

import copy
import json

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn

from mmprune.errors import ConfigError, StructureError
from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.surgery.structure import Structure
from tests.networks import randomise
from tests.oracles.zeroing import distance, outputs, zeroed_copy


def make():
    return randomise(
        nn.Sequential(
            ConvModule(3, 8, 3, norm_cfg=dict(type='BN')),
            ConvModule(8, 8, 3, groups=8, norm_cfg=dict(type='BN')),
            nn.Conv2d(8, 12, 1),
            nn.Conv2d(12, 6, 3, groups=3),
            nn.ReLU(),
            nn.Conv2d(6, 4, 1),
        )
    )


def prune(net, ratio=0.5, **options):
    images = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    ChannelPruner('L2Norm', dict(type='Uniform', ratio=ratio), **options).plan(Scope.of(net, images)).apply()
    return net._mmprune_structure, images


def test_round_trip():
    net = make()
    dense = copy.deepcopy(net)
    structure, images = prune(net)
    text = structure.to_json()
    assert '\n' not in text and json.loads(text)['version'] == 1
    read = Structure.from_json(text)
    assert read.to_json() == text
    read.apply(dense)
    dense.load_state_dict(net.state_dict())
    assert distance(outputs(net, images), outputs(dense, images)) == 0
    assert (dense[1].conv.groups, dense[1].groups, dense[0].out_channels, dense[1].in_channels) == (4, 4, 4, 4)
    read.apply(dense)  # a network that is already cut this way stays as it is
    assert dense[1].conv.weight.shape == (4, 1, 3, 3)


def test_cuts_compose():
    net = make()
    dense = copy.deepcopy(net)
    prune(net, 0.25)
    structure, images = prune(net, 0.5)
    fresh = copy.deepcopy(dense)
    Structure.from_json(structure.to_json()).apply(fresh)
    fresh.load_state_dict(net.state_dict())
    assert distance(outputs(net, images), outputs(fresh, images)) == 0
    assert distance(outputs(zeroed_copy(dense, structure.to_json()), images), outputs(net, images)) <= 1e-5


def test_depthwise_convs_down_to_one_channel():
    net = make()
    dense = copy.deepcopy(net)
    structure, images = prune(net, 0.87, min_channels=1)
    assert net[1].conv.groups == 1 and net[1].conv.weight.shape == (1, 1, 3, 3)
    for _ in range(2):
        structure.apply(dense)
    dense.load_state_dict(net.state_dict())
    assert distance(outputs(net, images), outputs(dense, images)) == 0
    with pytest.raises(ConfigError, match='nothing in the whole model can be pruned .*has one unit only'):
        prune(net)


def test_grouped_convs_down_to_one_channel_per_group_are_left_alone_afterwards():
    def grouped():
        return randomise(
            nn.Sequential(
                nn.Conv2d(3, 8, 1),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, groups=4),
                nn.ReLU(),
                nn.Conv2d(8, 8, 1),
                nn.ReLU(),
                nn.Conv2d(8, 4, 1),
            )
        )

    net = grouped()
    dense = copy.deepcopy(net)
    prune(net)
    assert (net[2].in_channels, net[2].out_channels, net[2].groups) == (4, 4, 4)
    images = torch.randn(2, 3, 9, 9)
    plan = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)).plan(Scope.of(net, images))
    assert {row.name: row.reason for row in plan.rows if row.reason} == {
        '0': '2 has one channel per group left',
        '6': 'is an output of the network',
    }
    plan.apply()
    Structure.from_json(net._mmprune_structure.to_json()).apply(dense)
    dense.load_state_dict(net.state_dict())
    assert distance(outputs(net, images), outputs(dense, images)) == 0


def entry(**changes):
    good = {'dense': [12, 8], 'out': [0, 3], 'in': [1, 2]}
    return json.dumps(dict(version=1, modules={'2': {**good, **changes}}))


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"version": 1', 'not a structure'),
        ('[]', 'not a structure'),
        ('{"modules": {}}', 'not a structure'),
        ('{"version": 2, "modules": {}}', 'structure version 2 is unknown, this mmprune reads version 1'),
        ('{"version": 1, "modules": []}', '"modules" must map'),
        ('{"version": 1, "modules": {"2": 3}}', 'structure of 2'),
        (entry(dense=[12]), 'needs "dense"'),
        (entry(dense=[12, '8']), 'needs "dense"'),
        (entry(out=[0, 12]), r'structure of 2: "out" must rise within \[0, 12\), got 0 … 12'),
        (entry(out=[-1, 2]), 'must rise within'),
        (entry(out=[3, 3]), 'must rise'),
        (entry(out=[3, 1]), 'must rise'),
        (entry(out=[]), 'non-empty'),
        (entry(out=[True, 2]), 'non-empty list of indices'),
        (entry(**{'in': [0, 8]}), r'\[0, 8\)'),
    ],
)
def test_bad_structures(text, message):
    with pytest.raises(StructureError, match=message):
        Structure.from_json(text)


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(dense=[13, 8]),
            r'2: the structure keeps \(2, 2\) of \(out, in\) = \(13, 8\) channels, but this network has \(12, 8\)',
        ),
        (None, "names the module 'nine', which this network does not have"),
    ],
)
def test_structures_of_another_network_leave_it_untouched(changes, message):
    net = make()
    state = copy.deepcopy(net.state_dict())
    text = entry(**changes) if changes else entry().replace('"2"', '"nine"')
    with pytest.raises(StructureError, match=message):
        Structure.from_json(text).apply(net)
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())


def test_a_structure_that_fails_half_way_is_taken_back():
    net = make()
    modules = json.loads(entry())['modules']
    modules['3'] = dict(dense=[6, 12], **{'in': [0, 1, 5]})  # not the same positions in every group
    with pytest.raises(StructureError, match='cannot be applied.*groups=3'):
        Structure.from_json(json.dumps(dict(version=1, modules=modules))).apply(net)
    assert net[2].out_channels == 12 == len(net[2].weight) and net[3].in_channels == 12
