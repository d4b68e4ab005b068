"""The user's rules hold for every width, whoever proposes it."""

import pytest
import torch
from torch import nn

from mmprune.graph.group import ChannelGroup
from mmprune.graph.scope import Scope
from mmprune.pruners.widths import WidthRules, Widths, slow_widths
from mmprune.report.report import LayerRow

GROUP = ChannelGroup('layer1.conv', 48)


def proposed(kept, fraction=1.0, dense=None, **rules):
    scope = Scope(nn.Linear(1, 1), torch.zeros(1, 1))
    rules = WidthRules(**{'overrides': {}, **rules})
    return Widths(scope, [GROUP], rules, fraction, dense).proposed(GROUP, kept)


@pytest.mark.parametrize(
    'rules, kept', [({}, 21), ({'round_to': 8}, 24), ({'round_to': 64}, 21), ({'min_channels': 30}, 30)]
)
def test_rounding_and_minimum(rules, kept):
    assert proposed(21, **rules) == kept


def test_a_step_removes_its_share_of_what_the_criterion_would():
    assert proposed(24, fraction=0.5) == 36


def test_an_override_is_a_share_of_the_dense_width():
    assert proposed(40, overrides={'layer1.*': 0.25}) == 36
    assert proposed(40, overrides={'layer1.*': 0.5}, dense={GROUP.name: 64}) == 32
    assert proposed(40, overrides={'other': 0.5}) == 40


def test_only_new_odd_widths_are_called_slow():
    assert not slow_widths([LayerRow('a', 16, 8), LayerRow('b', 15, 7), LayerRow('c', 9, 9)])
    (warning,) = slow_widths([LayerRow('a', 16, 7), LayerRow('b', 16, 8)])
    assert '1 of 2' in warning and 'a: 7' in warning
