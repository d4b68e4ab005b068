"""Additivity: exact where it must be, and drawn."""

import pytest
import torch
from torch import nn

from mmprune.distortion import CurveMeasurer, check_additivity
from mmprune.graph.scope import Scope
from mmprune.images import as_source
from mmprune.pruners.weight import weight_cut
from mmprune.report.plots import plot_additivity
from tests.test_distortion.networks import make


class Apart(nn.Module):
    """Two layers that write into different outputs: distortions are exactly additive."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(12, 5), nn.Linear(12, 5)

    def forward(self, x):
        return torch.cat([self.a(x), self.b(x)], dim=1)


def check(net, images, **options):
    cuts = [weight_cut(name, m) for name, m in net.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    measurer = CurveMeasurer(num_images=len(images), points=10, worst_case=False, cache=False)
    return check_additivity(cuts, Scope.of(net, images[:1]), measurer, as_source(images), samples=12, **options)


def test_separate_layers_add_up_exactly():
    result = check(Apart(), torch.randn(9, 12))
    assert result.measured == pytest.approx(result.predicted, rel=1e-4)
    assert result.summary()['spearman'] == pytest.approx(1)


def test_a_real_network_is_left_as_it_was_and_drawn(tmp_path):
    net = make('in place')
    state = {key: value.clone() for key, value in net.state_dict().items()}
    result = check(net, torch.randn(4, 3, 8, 8))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    assert len(result.removed) == len(result.measured) == 12 and result.summary()['spearman'] > 0
    assert plot_additivity(result, tmp_path / 'plot.png').read_bytes()[1:4] == b'PNG'
    assert set(result.to_dict()) >= {'pearson_log', 'median_ratio', 'predicted'}


def test_worst_cases_do_not_add_up():
    with pytest.raises(ValueError, match='worst_case=False'):
        check_additivity([], None, CurveMeasurer(cache=False))
