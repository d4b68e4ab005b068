import pytest
import torch

from mmprune.models import CIFARDenseNet
from tests.test_models.complexity import mega_macs, parameters, prunable


def test_redundancy_graph_densenet40_has_the_published_size(build_classifier):
    with torch.device('meta'):
        model = build_classifier('densenet40_rg_cifar')
        assert parameters(model) / 1e6 == pytest.approx(1.059, abs=5e-4)
        assert mega_macs(model) == pytest.approx(282.9, abs=0.05)
        assert model.backbone.trans1.conv.out_channels == 168
        assert model.backbone.trans2.conv.out_channels == 312
        assert model.backbone.out_channels == model.head.in_channels == 456


def test_rd_densenet_has_the_published_size(build_classifier):
    with torch.device('meta'):
        model = build_classifier('densenet121_rd_cifar')
        assert prunable(model) == (121, 969_288)
        assert mega_macs(model) == pytest.approx(125.3, abs=0.05)
        assert model.backbone.out_channels == model.head.in_channels


@pytest.mark.parametrize(('prepend', 'first'), [(False, 0), (True, 12)])
def test_input_channels_stand_before_or_behind_the_new_ones(prepend, first):
    layer = CIFARDenseNet(blocks=(1,), prepend=prepend).dense1[0].eval()
    x = torch.rand(1, 24, 8, 8)
    out = layer(x)
    assert out.shape == (1, 36, 8, 8)
    assert torch.equal(out[:, first : first + 24], x)


def test_wrong_reduction_is_named():
    with pytest.raises(ValueError, match='reduction=0'):
        CIFARDenseNet(reduction=0)
