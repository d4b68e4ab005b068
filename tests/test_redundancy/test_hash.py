import numpy as np
import pytest
import torch

from mmprune.criteria.redundancy import hash_basis, hash_signs, is_informative
from tests.oracles import redundancy_graph as literal


@pytest.mark.parametrize('shape', [(32, 32), (8, 8), (4, 4), (2, 2), (7, 12), (16, 3), (1, 9), (33, 1)])
@pytest.mark.parametrize('dc', [True, False])
def test_bits_are_those_of_a_dct_per_map(shape, dc):
    maps = torch.randn(3, 4, *shape, dtype=torch.float64)
    signs = hash_signs(maps, dc=dc)
    for image in range(3):
        for channel in range(4):
            expected = literal.hash_bits(maps[image, channel].numpy(), dc=dc)
            # the order of the bits is free, as long as it is the same for all maps
            ours = signs[image, channel] > 0
            rows, columns = (min(8, n) for n in shape)
            order = np.arange(rows * columns).reshape(rows, columns).T.flatten()
            order = order if dc else order[1:] - 1
            assert np.array_equal(ours.numpy(), expected[order])


@pytest.mark.parametrize('dc', [True, False])
def test_basis_gives_the_same_bits(dc):
    maps = torch.randn(5, 9, 14, dtype=torch.float64)
    values = torch.einsum('byx,nyx->nb', hash_basis(9, 14, dc=dc), maps)
    assert torch.equal(values >= 0, hash_signs(maps, dc=dc) > 0)


def test_single_precision_agrees_with_double():
    maps = torch.randn(20, 16, 32, 32)
    differ = (hash_signs(maps) != hash_signs(maps.double()).float()).double().mean()
    assert differ < 1e-5


def test_half_precision_maps_are_hashed_in_single():
    maps = torch.randn(2, 3, 8, 8).half()
    assert torch.equal(hash_signs(maps), hash_signs(maps.float()))


@pytest.mark.parametrize('value', [0.0, 3.7])
@pytest.mark.parametrize('dc', [True, False])
def test_flat_maps_have_equal_hashes_whatever_their_scale(value, dc):
    maps = value * torch.tensor([1.0, 0.1, 17.0])[:, None, None].expand(3, 13, 11)
    signs = hash_signs(maps, dc=dc)
    assert torch.equal(signs, signs[:1].expand_as(signs))
    if value == 0 or not dc:
        assert (signs == 1).all()


@pytest.mark.parametrize(
    ('size', 'dc', 'expected'),
    [((1, 1), True, False), ((1, 2), True, True), ((1, 2), False, False), ((2, 2), False, True), ((1, 8), True, True)],
)
def test_a_single_coefficient_tells_nothing(size, dc, expected):
    assert is_informative(*size, dc=dc) is expected


def test_mean_decides_where_it_dominates_unless_dc_is_off():
    noise = torch.randn(200, 8, 16, 16)
    shifted = noise + 4 * torch.where(torch.arange(8) % 2 == 0, 1.0, -1.0)[:, None, None]

    def spread(maps, dc):
        signs = hash_signs(maps, dc=dc).transpose(0, 1).flatten(1)
        return (signs @ signs.T / signs.shape[1] / 2 + 0.5)[torch.triu(torch.ones(8, 8), 1) > 0].std()

    assert spread(shifted, dc=True) > 0.3
    assert spread(shifted, dc=False) < 0.02
