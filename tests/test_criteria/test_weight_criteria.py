"""Criteria that look at filters: values, equivariance, coupled groups, biases."""

import pytest
import torch
from torch import nn

from mmprune.registry import CRITERIA
from tests.test_criteria.fake_group import make_group, permute

WEIGHT_CRITERIA = ['L1Norm', 'L2Norm', 'SquaredSum', 'GeometricMedian']


def build(name, **kwargs):
    return CRITERIA.build(dict(type=name, **kwargs))


def conv_with(rows):
    rows = torch.tensor(rows)
    conv = nn.Conv2d(rows.shape[1], len(rows), 1)
    conv.weight.data = rows[:, :, None, None]
    return conv


@pytest.mark.parametrize(
    'name, expected',
    [
        ('L1Norm', [7.0, 0.0, 3.0]),
        ('L2Norm', [5.0, 0.0, 3.0]),
        ('SquaredSum', [25.0, 0.0, 9.0]),
        ('GeometricMedian', [9.0, 8.0, 7.0]),
    ],
)
def test_values_by_hand(name, expected):
    scores = build(name).scores(make_group(conv_with([[3.0, -4.0], [0.0, 0.0], [3.0, 0.0]])))
    assert scores.dtype == torch.float64
    assert scores.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('name', WEIGHT_CRITERIA)
@pytest.mark.parametrize('per_unit', [1, 2])
def test_scores_follow_a_permutation_of_the_units(name, per_unit):
    group = make_group(nn.Conv2d(5, 12, 3), nn.Conv2d(4, 12, 1), per_unit=per_unit)
    order = torch.randperm(group.width)
    criterion = build(name)
    torch.testing.assert_close(criterion.scores(permute(group, order)), criterion.scores(group)[order])


@pytest.mark.parametrize('name', WEIGHT_CRITERIA)
def test_one_score_per_unit_when_a_unit_has_several_channels(name):
    assert build(name).scores(make_group(nn.Conv2d(5, 12, 3), per_unit=4)).shape == (3,)


def test_geometric_median_equals_explicit_distances():
    conv = nn.Conv2d(6, 40, 3)
    conv.weight.data += 10  # a common offset costs the fast distance its digits, unless rows are centred
    rows = conv.weight.detach().double().flatten(1)
    expected = (rows[:, None] - rows[None]).norm(dim=2).sum(dim=1)
    torch.testing.assert_close(build('GeometricMedian').scores(make_group(conv)), expected, rtol=1e-12, atol=0)


def test_geometric_median_prunes_the_filter_in_the_middle():
    group = make_group(conv_with([[-1.0, 0.0], [0.1, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    assert build('GeometricMedian').scores(group).argmin() == 1


@pytest.mark.parametrize('reduce', ['sum', 'mean', 'max', 'first'])
def test_coupled_producers_are_combined(reduce):
    first, second = conv_with([[1.0], [5.0]]), conv_with([[4.0], [2.0]])
    expected = {'sum': [5.0, 7.0], 'mean': [2.5, 3.5], 'max': [4.0, 5.0], 'first': [1.0, 5.0]}[reduce]
    assert build('L1Norm', reduce=reduce).scores(make_group(first, second)).tolist() == expected


def test_producers_are_of_equal_footing():
    first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(5, 8, 1)
    for reduce in ('sum', 'mean', 'max'):
        criterion = build('L2Norm', reduce=reduce)
        torch.testing.assert_close(
            criterion.scores(make_group(first, second)), criterion.scores(make_group(second, first))
        )


@pytest.mark.parametrize('with_bias, on_linear, on_conv', [('linear', 4.0, 1.0), (True, 4.0, 4.0), (False, 1.0, 1.0)])
def test_bias_counts_as_published(with_bias, on_linear, on_conv):
    for layer, expected in ((nn.Linear(1, 2), on_linear), (nn.Conv2d(1, 2, 1), on_conv)):
        layer.weight.data.fill_(1)
        layer.bias.data.fill_(-3)
        assert build('L1Norm', with_bias=with_bias).scores(make_group(layer)).tolist() == [expected] * 2


def test_squared_sum_leaves_the_bias_out_by_default():
    layer = nn.Linear(1, 2)
    layer.weight.data.fill_(2)
    layer.bias.data.fill_(100)
    assert build('SquaredSum').scores(make_group(layer)).tolist() == [4.0, 4.0]


def test_layers_without_bias_pass():
    assert build('L1Norm', with_bias=True).scores(make_group(nn.Conv2d(2, 4, 1, bias=False))).shape == (4,)


@pytest.mark.parametrize('name', WEIGHT_CRITERIA)
def test_nan_weights_are_refused_by_name(name):
    conv = nn.Conv2d(2, 4, 1)
    conv.weight.data[1] = float('nan')
    with pytest.raises(ValueError, match=r'^load_from: the weights of conv\.0 contain NaN'):
        build(name).scores(make_group(conv))


@pytest.mark.parametrize('key, value', [('reduce', 'median'), ('with_bias', 'conv')])
def test_unknown_options_name_the_key(key, value):
    with pytest.raises(ValueError, match=rf"^{key}: .*'{value}'"):
        build('L2Norm', **{key: value})
