"""Layouts are chosen for speed alone: whatever a host does with its images and maps, it runs as it would without."""

import copy
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmprune
from mmprune.distillation import FeatureDistillation
from mmprune.graph.scope import Scope
from mmprune.images.deep_inversion import DeepInversion
from mmprune.measure import layout
from mmprune.measure.layout import Layout
from mmprune.registry import MODELS
from tests.networks import randomise

#: Backbones of mmpretrain, small ones, and the width of their last maps; without a width the first has its classifier.
BACKBONES = {
    'VGG with its classifier': (dict(type='VGG', depth=11, norm_cfg=dict(type='BN')), None),
    'VGG': (dict(type='VGG', depth=11, norm_cfg=dict(type='BN')), 512),
    'ShuffleNetV2': (dict(type='ShuffleNetV2', widen_factor=0.5), 1024),
    'MobileNetV2': (dict(type='MobileNetV2', widen_factor=0.35), 1280),
    'ResNeSt': (dict(type='ResNeSt', depth=50, base_channels=8), 256),
    'RepVGG': (dict(type='RepVGG', arch='A0', deploy=False), 1280),
}
SIZE = 64


def classifier(config: dict, width: int | None) -> nn.Module:
    """A classifier around a backbone."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    neck = dict(type='GlobalAveragePooling') if width else None
    head = dict(type='LinearClsHead', num_classes=5, in_channels=width) if width else dict(type='ClsHead')
    model = MODELS.build(ConfigDict(type='mmpretrain.ImageClassifier', backbone=config, neck=neck, head=head)).eval()
    if width is None:  # as its own for num_classes=5, which is made for images of 224 pixels
        model.backbone.num_classes, model.backbone.classifier = 5, nn.Linear(512 * 2 * 2, 5)
    randomise(model)
    return model


def with_and_without(run: Callable[[], list[Tensor]]) -> None:
    """What is computed with a measured layout is what is computed with contiguous images."""
    found = run()
    with mock.patch.object(layout, 'bears_channels_last', return_value=False):
        wanted = run()
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted):
        assert torch.allclose(one, other, rtol=2e-2, atol=1e-3 * float(other.abs().max()))


@pytest.fixture(params=BACKBONES)
def host(request: pytest.FixtureRequest) -> nn.Module:
    return classifier(*BACKBONES[request.param])


def test_curves(host: nn.Module) -> None:
    curves = dict(num_images=2, points=2, cache=False)
    allocator = dict(type='RateDistortion', target=dict(flops=0.8), curves=curves)
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=allocator)
    report = mmprune.prune(host, torch.zeros(1, 3, SIZE, SIZE), 'backbone', pruner, None, clock_s=0)
    assert any(row.after < row.before for row in report.layers)


def test_distillation(host: nn.Module) -> None:
    student = copy.deepcopy(host)
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5))
    mmprune.prune(student, torch.zeros(1, 3, SIZE, SIZE), 'backbone', pruner, None, clock_s=0)
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))

    def run() -> list[Tensor]:
        copied = copy.deepcopy(student).train()
        loss = FeatureDistillation().loss(copied, copy.deepcopy(host), ['backbone'], images[:1])
        before = {key: value.clone() for key, value in copied.state_dict().items()}
        torch.manual_seed(2)
        terms = loss(images)
        sum(terms.values()).backward()
        changed = [key for key, value in copied.state_dict().items() if not torch.equal(value, before[key])]
        assert all('running' in key or 'num_batches' in key for key in changed)
        counts = [v for key, v in copied.state_dict().items() if key.endswith('num_batches_tracked')]
        assert all(int(count) <= 1 for count in counts)  # trying a layout is no step of training
        return [value.detach() for value in terms.values()]

    with_and_without(run)


def test_inversion(host: nn.Module, tmp_path: Path) -> None:
    if not any(isinstance(module, nn.BatchNorm2d) for module in host.modules()):
        pytest.skip('has no batch norm')
    scope = Scope.of(host, torch.zeros(1, 3, SIZE, SIZE), 'backbone')
    numbers = iter(range(2))

    def run() -> list[Tensor]:
        synthesizer = DeepInversion(2, 2, phases=[dict(iterations=1)], warmup=0, progress=False)
        return list(synthesizer.prepare(scope, tmp_path / str(next(numbers))))

    with_and_without(run)


class Viewing(nn.Module):
    """Views its maps as vectors, which needs them contiguous unless they are single pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.seen = nn.Conv2d(16, 8, 3, stride=2, padding=1), []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.is_contiguous(memory_format=torch.channels_last))
        x = self.conv(images)
        return x.view(len(x), -1).sum(dim=1)


def test_every_shape_is_tried_once_and_by_itself() -> None:
    model = Viewing()
    better = Layout(model.modules(), [model])
    single, several = torch.randn(4, 16, 2, 2), torch.randn(4, 16, 8, 8)
    assert better(single).is_contiguous(memory_format=torch.channels_last)  # maps of one pixel
    assert better(several) is several
    tried = len(model.seen)
    model(better(several)), model(better(single))
    assert len(model.seen) == tried + 2


def test_a_single_image_does_not_hide_a_view_over_batches() -> None:
    def merge(images: Tensor) -> Tensor:
        return images.view(len(images) * images.shape[1], -1)

    one = torch.randn(1, 16, 1, 5)
    assert Layout([nn.Conv2d(16, 8, 3)], [merge])(one) is one


def test_what_depends_on_strides_gets_what_it_is_used_to() -> None:
    def strided(images: Tensor) -> Tensor:
        return images.as_strided((2, 3), (48, 1))

    images = torch.randn(2, 3, 4, 4)
    assert Layout([nn.Conv2d(3, 3, 3)], [strided])(images) is images


def test_trying_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)).train()
    state, before = torch.random.get_rng_state(), copy.deepcopy(model.state_dict())
    images = Layout(model.modules(), [model])(torch.randn(2, 16, 6, 6, generator=torch.Generator()))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize('images', [torch.randn(2, 16), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), {'x': 1}])
def test_what_is_no_batch_of_images_stays_as_it_is(images: object) -> None:
    assert Layout([], [lambda x: x])(images) is images
