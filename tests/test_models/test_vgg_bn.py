"""VGG with batch norm as a detector's backbone."""

import pytest
import torch
import torchvision
from torch import nn

from mmprune.models import VGGBN
from mmprune.registry import MODELS


@pytest.mark.parametrize('depth', [16, 19])
def test_maps_and_torchvision_weights(depth: int, tmp_path) -> None:
    theirs = getattr(torchvision.models, f'vgg{depth}_bn')()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    torch.save(theirs.state_dict(), tmp_path / 'vgg.pth')
    model = MODELS.build(
        dict(type='mmprune.VGGBN', depth=depth, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vgg.pth')))
    )
    model.init_weights()
    model.eval(), theirs.eval()
    images = torch.randn(1, 3, 64, 64)
    outputs = model(images)
    assert [tuple(out.shape[1:]) for out in outputs] == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]
    assert torch.allclose(outputs[-1], theirs.features[:-1](images), atol=1e-5)  # without the last max-pool
    assert len(model.features) == {16: 43, 19: 52}[depth]


def test_options() -> None:
    model = VGGBN(16, out_indices=(0, 4), bias=False, last_pool='max', widths=[4] * 13)
    assert [tuple(out.shape[1:]) for out in model(torch.randn(1, 3, 32, 32))] == [(4, 16, 16), (4, 1, 1)]
    assert model.features[0].bias is None
    with pytest.raises(ValueError, match='out_indices'):
        VGGBN(16, out_indices=(5,))
