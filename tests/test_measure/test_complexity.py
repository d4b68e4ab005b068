"""Counting what is there, and pricing what would be left."""

import pytest
import torch
from torch import nn

from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.verify import refuse_wrong_groups, slice_groups
from mmprune.measure.complexity import CostModel, measure, module_flops
from mmprune.surgery.masking import attach_mask
from tests.networks import NETWORKS

NAMES = [
    'torchvision ResNet-18',
    'torchvision MobileNetV2',
    'torchvision DenseNet',
    'CIFAR VGG-16',
    pytest.param('mmdet ResNet-50 FPN', marks=pytest.mark.slow),
    'torchvision ResNeXt',
    'mmdet CSPDarknet YOLOXPAFPN',
    'torchvision EfficientNet-B0',
    'mmdet SSDVGG SSDNeck',
]


def test_known_counts():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10))
    counts = measure(Scope.of(net, torch.zeros(1, 3, 4, 4), '0'))
    assert counts.params == 3 * 8 * 9 + 8 + 1280 + 10 and counts.target_params == 3 * 8 * 9 + 8
    assert counts.flops == 3 * 8 * 9 * 16 + 1280 and counts.target_flops == 3 * 8 * 9 * 16
    assert counts.nonzero_params == counts.params and counts.input_shape == (1, 3, 4, 4)
    attach_mask(net[3], torch.arange(1280).reshape(10, 128) < 80)
    assert measure(Scope.of(net, torch.zeros(1, 3, 4, 4))).nonzero_params == counts.params - 1200


def test_a_published_count():
    import torchvision

    counts = measure(Scope.of(torchvision.models.resnet50(), torch.zeros(1, 3, 224, 224)))
    assert counts.params == 25_557_032
    assert counts.flops == pytest.approx(4.1e9, rel=0.02)  # multiply-adds


def test_measuring_changes_no_flag():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    net[0].weight.requires_grad_(False)
    net[1].eval()
    module_flops(Scope.of(net, torch.zeros(2, 3, 4, 4)))
    assert net.training and net[0].training and not net[1].training and not net[0].weight.requires_grad
    assert not net[1].num_batches_tracked


@pytest.mark.parametrize('name', NAMES)
def test_the_price_is_what_is_measured(name):
    model = NETWORKS[name]().eval()
    targets = ['backbone', 'neck'] if hasattr(model, 'neck') else ''
    scope = Scope.of(model, torch.randn(1, 3, 64, 64), targets)
    groups = find_groups(model, scope.forward, scope.example, scope.targets, prune_interface=True)
    refuse_wrong_groups(model, scope.forward, scope.probe_input(), groups)
    groups = [group for group in groups if group.prunable]
    costs, whole = CostModel(scope, groups), measure(scope)
    assert costs.total == {'params': whole.target_params, 'flops': whole.target_flops}
    generator = torch.Generator().manual_seed(1)
    counts = {g.name: int(torch.randint(max(1, g.width // 3), g.width + 1, (), generator=generator)) for g in groups}
    single = max(groups, key=lambda group: group.width)
    per_unit = costs.per_unit()[single.name]
    for wanted in (counts, {single.name: single.width - 1}):
        priced = costs.remaining(wanted)
        undo = slice_groups(model, groups, {key: torch.arange(count) for key, count in wanted.items()})
        left = measure(scope)
        assert priced['params'] == pytest.approx(left.target_params, abs=0.5)
        assert left.target_flops <= priced['flops'] + 0.5
        assert priced['flops'] == pytest.approx(left.target_flops, rel=5e-3)  # pooling counts as constant
        smaller = CostModel(scope, [], {}) if wanted is not counts else None
        undo.take_back()
    assert smaller.total['params'] == pytest.approx(costs.total['params'] - per_unit['params'])
    assert measure(scope) == whole


def test_prices_extrapolate_to_what_the_network_was():
    model = NETWORKS['torchvision ResNet-18']().eval()
    scope = Scope.of(model, torch.randn(1, 3, 64, 64))
    whole = measure(scope)
    groups = [g for g in find_groups(model, scope.forward, scope.example, ['']) if g.prunable]
    dense = {group.name: group.width for group in groups}
    slice_groups(model, groups, {name: torch.arange(width // 3) for name, width in dense.items()})
    groups = [g for g in find_groups(model, scope.forward, scope.example, ['']) if g.prunable]
    before = CostModel(scope, groups).remaining(dense)
    assert before['params'] == pytest.approx(whole.params) and before['flops'] == pytest.approx(whole.flops, rel=1e-3)
