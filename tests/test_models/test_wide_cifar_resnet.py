import pytest
import torch

from mmprune.models import WideCIFARResNet
from tests.test_models.complexity import mega_macs, parameters, prunable


def test_lbyl_resnet50_has_the_published_size(build_classifier):
    with torch.device('meta'):
        model = build_classifier('resnet50_lbyl_cifar100')
    assert parameters(model) == 23_705_252
    blocks = [block for stage in range(1, 5) for block in getattr(model.backbone, f'layer{stage}')]
    assert [block.conv1.stride for block in blocks] == [(1, 1)] * 16
    assert [index for index, block in enumerate(blocks) if block.conv2.stride == (2, 2)] == [3, 7, 13]


def test_rd_resnet18_has_the_published_size(build_classifier):
    with torch.device('meta'):
        model = build_classifier('resnet18_rd_cifar')
        assert prunable(model) == (21, 11_164_352)
        assert mega_macs(model) == pytest.approx(555.4, abs=0.05)


@pytest.mark.parametrize(('depth', 'millions'), [(18, 11.17), (34, 21.28)])
def test_dfbf_resnets_have_the_published_size(build_classifier, depth, millions):
    with torch.device('meta'):
        model = build_classifier('resnet18_dfbf_cifar', backbone={'depth': depth})
        assert parameters(model) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize(('stem_pool', 'sides'), [(False, [32, 16, 8, 4]), (True, [16, 8, 4, 2])])
def test_stem_pool_halves_every_map(stem_pool, sides):
    with torch.device('meta'):
        model = WideCIFARResNet(18, stem_pool=stem_pool, out_indices=range(4))
        outs = model(torch.rand(1, 3, 32, 32))
    assert [tuple(out.shape) for out in outs] == [
        (1, width, side, side) for width, side in zip((64, 128, 256, 512), sides)
    ]


def test_depth_of_the_narrow_networks_is_refused():
    with pytest.raises(ValueError, match='WideCIFARResNet: depth=20'):
        WideCIFARResNet(20)
