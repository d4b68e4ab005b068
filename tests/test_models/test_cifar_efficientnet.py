import pytest
import torch

from mmprune.models import CIFAREfficientNet
from tests.test_models.complexity import mega_macs, prunable


def test_rd_efficientnet_has_the_published_size(build_classifier):
    """Less the 1x1 conv of 32 x 32 weights that the published first block has and never runs."""
    with torch.device('meta'):
        model = build_classifier('efficientnet-b0_rd_cifar')
        assert prunable(model) == (82 - 1, 3_550_816 - 32 * 32)
        assert mega_macs(model) == pytest.approx(30.3, abs=0.05)
        assert model.backbone.out_channels == model.head.in_channels


def test_blocks_are_skipped_in_training_only():
    torch.manual_seed(0)
    backbone, x = CIFAREfficientNet(dropout=0, drop_path_rate=0.9), torch.rand(4, 3, 32, 32)
    assert not torch.equal(backbone(x)[0], backbone(x)[0])
    backbone.eval()
    assert torch.equal(backbone(x)[0], backbone(x)[0])


def test_wrong_rate_is_named():
    with pytest.raises(ValueError, match='drop_path_rate=1'):
        CIFAREfficientNet(drop_path_rate=1)
