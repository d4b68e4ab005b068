import pytest
import torch
from torch import nn

from mmprune.models import CIFARVGG, MLPNeck
from tests.test_models.complexity import mega_macs, parameters, prunable


def _lbyl_widths(a: int, b: int, c: int, d: int) -> list[int]:
    return [a, a, b, b] + [c] * 3 + [d] * 6


@pytest.mark.parametrize(
    ('widths', 'count'),
    [
        ((64, 128, 256, 512), 14_987_722),
        ((57, 115, 230, 460), 12_123_024),
        ((51, 102, 204, 409), 9_602_987),
        ((44, 89, 179, 358), 7_385_244),
        ((38, 76, 153, 307), 5_450_864),
        ((32, 64, 128, 256), 3_820_010),
    ],
)
def test_lbyl_vgg16_has_the_published_size(build_classifier, widths, count):
    with torch.device('meta'):
        model = build_classifier(
            'vgg16_lbyl_cifar', backbone={'widths': _lbyl_widths(*widths)}, neck={'in_channels': widths[-1]}
        )
    assert parameters(model) == count


def test_redundancy_graph_vgg16_has_the_published_size(build_classifier):
    with torch.device('meta'):
        model = build_classifier('vgg16_rg_cifar')
        assert parameters(model) / 1e6 == pytest.approx(14.99, abs=0.005)
        assert mega_macs(model) == pytest.approx(313.5, abs=0.05)


def test_rd_vgg16_has_the_published_size(build_classifier):
    with torch.device('meta'):
        model = build_classifier('vgg16_rd_cifar')
        assert prunable(model) == (14, 14_715_584)
        assert mega_macs(model) == pytest.approx(313.2, abs=0.05)


@pytest.mark.parametrize(('depth', 'millions'), [(16, 33.65), (19, 38.96)])
def test_dfbf_vggs_have_the_published_size(build_classifier, depth, millions):
    with torch.device('meta'):
        model = build_classifier('vgg16_dfbf_cifar', backbone={'depth': depth})
    assert parameters(model) / 1e6 == pytest.approx(millions, abs=0.006)
    assert len(model.backbone.features) == {16: 44, 19: 53}[depth]


@pytest.mark.parametrize(
    ('bias', 'classes', 'count'), [(True, 10, 14_990_922), (False, 10, 14_986_698), (True, 200, 15_088_392)]
)
def test_expanders_vgg16_has_the_published_size(build_classifier, bias, classes, count):
    with torch.device('meta'):
        model = build_classifier('vgg16_expanders_cifar', backbone={'bias': bias}, head={'num_classes': classes})
    assert parameters(model) == count


def test_convs_are_numbered_as_published():
    with torch.device('meta'):
        features = CIFARVGG(16).features
    convs = [index for index, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    assert convs == [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]


@pytest.mark.parametrize(('last_pool', 'kind'), [('max', nn.MaxPool2d), ('avg', nn.AvgPool2d)])
def test_last_pool_is_the_only_one_that_changes(last_pool, kind):
    with torch.device('meta'):
        features = CIFARVGG(16, last_pool=last_pool).features
    pools = [layer for layer in features if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)]
    assert len(pools) == 5
    assert isinstance(pools[-1], kind)
    assert all(isinstance(pool, nn.MaxPool2d) for pool in pools[:-1])


def test_out_indices_select_stages():
    with torch.device('meta'):
        outs = CIFARVGG(19, out_indices=(1, 4))(torch.rand(1, 3, 32, 32))
    assert [tuple(out.shape) for out in outs] == [(1, 128, 8, 8), (1, 512, 1, 1)]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'depth': 11}, 'depth=11'),
        ({'last_pool': 'none'}, "last_pool='none'"),
        ({'widths': [64] * 12}, 'widths has 12 entries'),
        ({'out_indices': (5,)}, r'out_indices=\(5,\)'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CIFARVGG(**arguments)


def test_mlp_neck_takes_the_last_map_and_keeps_the_order_of_layers():
    neck = MLPNeck(8, (6, 4), norm=True, dropout=0.5)
    kinds = [type(layer).__name__ for layer in neck.layers]
    assert kinds == ['Linear', 'BatchNorm1d', 'ReLU', 'Dropout'] * 2
    (out,) = neck((torch.rand(3, 5, 2, 2), torch.rand(3, 8, 1, 1)))
    assert out.shape == (3, 4)
