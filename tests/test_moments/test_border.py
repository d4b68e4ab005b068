import pytest
import torch
from torch import nn

from mmprune.moments.border import tap_coverage


@pytest.mark.parametrize(
    'arguments',
    [
        {'kernel_size': 3, 'padding': 1},
        {'kernel_size': 3, 'padding': 1, 'stride': 2},
        {'kernel_size': 3},
        {'kernel_size': (1, 5), 'padding': (0, 2)},
        {'kernel_size': 3, 'padding': 2, 'dilation': 2},
        {'kernel_size': 4, 'padding': 'same'},
        {'kernel_size': 3, 'padding': 'valid'},
    ],
)
def test_coverage_is_the_mean_response_to_a_map_of_ones(arguments):
    conv = nn.Conv2d(1, 1, bias=False, **arguments).double()
    with torch.no_grad():
        mean = conv(torch.ones(1, 1, 7, 9, dtype=torch.float64)).mean()
    assert torch.allclose(conv.weight.detach().flatten() @ tap_coverage(conv, (7, 9)), mean)


def test_unknown_sizes_other_paddings_and_linears_count_as_inside():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    assert torch.equal(tap_coverage(conv, ()), torch.ones(9).double())
    reflecting = nn.Conv2d(2, 3, 3, padding=1, padding_mode='reflect')
    assert torch.equal(tap_coverage(reflecting, (8, 8)), torch.ones(9).double())
    assert torch.equal(tap_coverage(nn.Linear(3, 4), ()), torch.ones(1).double())
