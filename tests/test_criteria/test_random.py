"""Random: reproducible everywhere, one stream per group, and LBYL's deterministic variants."""

import pytest
import torch
from torch import nn

from mmprune.registry import CRITERIA
from tests.test_criteria.fake_group import make_group, permute


def scores(group, **kwargs):
    return CRITERIA.build(dict(type='Random', **kwargs)).scores(group)


def group_of(width=6, name='layer1.0.conv1'):
    return make_group(nn.Conv2d(2, width, 1), name=name)


def test_independent_of_global_state_and_of_other_groups():
    group = group_of()
    before = torch.get_rng_state()
    first = scores(group)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    scores(group_of(name='another'))
    assert torch.equal(scores(group_of()), first)


def test_seed_and_name_choose_the_stream():
    streams = [scores(group_of(), seed=0), scores(group_of(), seed=1), scores(group_of(name='another'), seed=0)]
    assert len({tuple(s.tolist()) for s in streams}) == 3


def test_same_values_on_every_machine_and_in_every_process():
    assert scores(group_of(3)).tolist() == [0.7221784308745872, 0.08607276180964774, 0.8279126605741807]


def test_random_1_keeps_the_smallest_last_digit():
    conv = nn.Conv2d(1, 4, 1)
    conv.weight.data = torch.tensor([0.75, 3.0, 1.5, -0.125])[:, None, None, None]
    assert scores(make_group(conv), variant='random_1').tolist() == [4.0, 9.0, 4.0, 4.0]


def test_random_1_follows_a_permutation():
    group, order = group_of(10), torch.randperm(10)
    expected = scores(group, variant='random_1')[order]
    assert torch.equal(scores(permute(group, order), variant='random_1'), expected)


def test_random_2_keeps_the_last_and_random_3_the_first():
    assert scores(group_of(5), variant='random_2').topk(2).indices.tolist() == [4, 3]
    assert scores(group_of(5), variant='random_3').topk(2).indices.tolist() == [0, 1]


def test_unknown_variant():
    with pytest.raises(ValueError, match='^variant: .*random_9'):
        CRITERIA.build({'type': 'Random', 'variant': 'random_9'})
