"""Heads of detectors and classifiers can lose channels, linear layers included, and what reads an FPN goes with it."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

import mmprune
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import flatten_tensors
from mmprune.registry import MODELS
from tests.detectors import mask_rcnn, retinanet
from tests.networks import randomise
from tests.oracles.zeroing import distance, zeroed_copy

IMAGES = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def prune(model: nn.Module, target: object, **options: object) -> tuple[nn.Module, mmprune.report.report.Report]:
    dense = copy.deepcopy(model)
    pruner = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5), **options)
    return dense, mmprune.prune(model, IMAGES, target, pruner, restorer=None)


def same_outputs(dense: nn.Module, model: nn.Module, target: object) -> bool:
    """Every output, of the heads too, is that of the dense network with the removed channels zeroed."""
    nets = zeroed_copy(dense, model._mmprune_structure.to_json()), model
    with torch.no_grad():
        maps = [flatten_tensors(Scope.of(net, IMAGES, target).with_heads().forward(IMAGES)) for net in nets]
    return distance(*maps) < 1e-4


def works(model: nn.Module, with_mask: bool = False) -> None:
    from mmdet.testing import demo_mm_inputs

    batch = demo_mm_inputs(2, [(3, 64, 96)] * 2, num_items=[2, 2], num_classes=3, with_mask=with_mask)
    batch = model.data_preprocessor(batch, True)
    losses = model(**batch, mode='loss')
    assert model.parse_losses(losses)[0].isfinite()
    model.eval()
    assert len(model(**batch, mode='predict')) == 2


def test_the_convs_of_a_dense_head() -> None:
    model = retinanet()
    dense, report = prune(model, 'bbox_head')
    cut = {row.name: row.after for row in report.layers if row.after < row.before}
    assert cut == {f'bbox_head.{kind}_convs.{k}.conv': 8 for kind in ('cls', 'reg') for k in range(2)}
    assert model.bbox_head.retina_cls.in_channels == 8
    assert same_outputs(dense, model, 'bbox_head')


@pytest.mark.parametrize(
    'target, cut, whole',
    [
        ('roi_head.bbox_head', {'roi_head.bbox_head.shared_fcs.0', 'roi_head.bbox_head.shared_fcs.1'}, 'fc_cls'),
        (
            'roi_head.mask_head',
            {f'roi_head.mask_head.convs.{k}.conv' for k in range(2)} | {'roi_head.mask_head.upsample'},
            'conv_logits',
        ),
    ],
)
def test_the_layers_of_a_roi_head(target: str, cut: set, whole: str) -> None:
    model = mask_rcnn()
    dense, report = prune(model, target)
    assert {row.name for row in report.layers if row.after < row.before} == cut
    (row,) = [row for row in report.layers if row.name == f'{target}.{whole}']
    assert row.after == row.before and row.reason == 'feeds what follows the target (prune_interface=False)'
    assert same_outputs(dense, model, target)
    works(model, with_mask=True)


def test_an_fpn_is_cut_with_everything_that_reads_it() -> None:
    model = mask_rcnn()
    dense, report = prune(model, ['backbone', 'neck'], prune_interface=True)
    assert [out.shape[1] for out in model.extract_feat(IMAGES)] == [8] * 5
    assert model.rpn_head.rpn_conv.in_channels == 8
    assert model.roi_head.bbox_head.shared_fcs[0].in_features == 8 * 49
    assert model.roi_head.mask_head.convs[0].conv.in_channels == 8
    assert same_outputs(dense, model, ['backbone', 'neck'])
    works(model, with_mask=True)


def test_neck_heads_and_backbone_together_survive_saving(tmp_path: object) -> None:
    model = mask_rcnn()
    _, report = prune(model, ['backbone', 'neck', 'rpn_head', 'roi_head'], prune_interface=True)
    assert sum(row.after < row.before for row in report.layers) == len(report.layers) - 5  # the heads' predictions
    path = mmprune.save(model, tmp_path / 'small.pth')
    again = mmprune.load(mask_rcnn(), path)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))
    works(again, with_mask=True)


def test_a_head_that_needs_boxes_says_so() -> None:
    class NeedsBoxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(16, 4, 1)

        def forward(self, feats: tuple, boxes: torch.Tensor) -> torch.Tensor:
            return self.conv(feats[0])

    model = retinanet()
    model.bbox_head = NeedsBoxes()
    with pytest.raises(ConfigError, match=r'target: bbox_head \(NeedsBoxes\) cannot be run as tensors in'):
        prune(model, 'bbox_head')
    _, report = prune(model, ['backbone', 'neck'], prune_interface=True)  # all but what the head reads
    reasons = {row.reason for row in report.layers if row.name.startswith('neck.fpn_convs')}
    assert reasons and all('feeds heads that cannot be traced: bbox_head (NeedsBoxes)' in why for why in reasons)
    assert any(row.after < row.before for row in report.layers if row.name.startswith('backbone'))


def test_a_layer_that_does_not_run_keeps_the_heads_out() -> None:
    model = retinanet()
    model.bbox_head.training_only = nn.Conv2d(16, 16, 1)
    with pytest.raises(ConfigError, match='bbox_head.training_only does not run without ground'):
        prune(model, 'bbox_head')


@pytest.mark.parametrize(
    'head, cut',
    [
        (
            dict(
                type='StackedLinearClsHead',
                num_classes=5,
                in_channels=64,
                mid_channels=[24, 16],
                norm_cfg=dict(type='BN1d'),
                act_cfg=dict(type='ReLU'),
            ),
            {'head.layers.0.fc': 12, 'head.layers.1.fc': 8},
        ),
        (
            dict(type='VisionTransformerClsHead', num_classes=5, in_channels=64, hidden_dim=20),
            {'head.layers.pre_logits': 10},
        ),
    ],
)
def test_the_linear_layers_of_a_classifier(head: dict, cut: dict) -> None:
    init_default_scope('mmpretrain')
    import mmpretrain.models  # noqa: F401

    neck = None if head['type'].startswith('Vision') else dict(type='GlobalAveragePooling')
    backbone = (
        dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
        if neck
        else dict(
            type='VisionTransformer',
            img_size=(64, 96),
            patch_size=16,
            arch=dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=32),
        )
    )
    model = MODELS.build(ConfigDict(type='ImageClassifier', backbone=backbone, neck=neck, head=head))
    model = randomise(model).eval()
    dense, report = prune(model, 'head')
    assert {row.name: row.after for row in report.layers if row.after < row.before} == cut
    nets = zeroed_copy(dense, model._mmprune_structure.to_json()), model
    with torch.no_grad():
        assert distance(*([net(IMAGES, mode='tensor')] for net in nets)) < 1e-4
