"""BNScale: sign, several norms, groups without one."""

import pytest
import torch
from torch import nn

from mmprune.registry import CRITERIA
from tests.test_criteria.fake_group import make_group, permute


def norm(*scales):
    bn = nn.BatchNorm2d(len(scales))
    bn.weight.data = torch.tensor(scales)
    return bn


def group_of(*norms, **kwargs):
    return make_group(nn.Conv2d(2, norms[0].num_features, 1), norms=norms, **kwargs)


def test_absolute_by_default_signed_on_request():
    group = group_of(norm(-2.0, 1.0, 0.5))
    assert CRITERIA.build({'type': 'BNScale'}).scores(group).tolist() == [2.0, 1.0, 0.5]
    assert CRITERIA.build({'type': 'BNScale', 'signed': True}).scores(group).tolist() == [-2.0, 1.0, 0.5]


def test_several_norms_and_several_channels_per_unit():
    group = group_of(norm(1.0, 3.0, 2.0, 2.0), norm(5.0, 5.0, 0.0, 2.0), per_unit=2)
    assert CRITERIA.build({'type': 'BNScale'}).scores(group).tolist() == [3.5, 1.5]
    assert CRITERIA.build({'type': 'BNScale', 'reduce': 'max'}).scores(group).tolist() == [5.0, 2.0]


def test_scores_follow_a_permutation_of_the_units():
    group = group_of(norm(1.0, -3.0, 2.0, 0.5))
    order = torch.tensor([2, 0, 3, 1])
    criterion = CRITERIA.build({'type': 'BNScale'})
    assert torch.equal(criterion.scores(permute(group, order)), criterion.scores(group)[order])


@pytest.mark.parametrize('norms', [(), (nn.BatchNorm2d(4, affine=False),), (nn.PReLU(4),)])
def test_group_without_a_scale_is_refused_with_a_cure(norms):
    group = make_group(nn.Conv2d(2, 4, 1), norms=norms, name='layer1.conv')
    with pytest.raises(ValueError, match=r'layer1\.conv.*pruner\.keep.*L2Norm'):
        CRITERIA.build({'type': 'BNScale'}).scores(group)


def test_nan_scale_is_refused():
    with pytest.raises(ValueError, match='^load_from: the scales of bn contain NaN'):
        CRITERIA.build({'type': 'BNScale'}).scores(group_of(norm(1.0, float('nan'))))
