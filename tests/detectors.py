"""Small detectors of mmdet, whole: heads, losses and predictions."""

from __future__ import annotations

from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import nn

from mmprune.registry import MODELS
from tests.networks import randomise

BACKBONE = dict(type='ResNet', depth=18, base_channels=8, frozen_stages=1, norm_eval=True)
FPN = dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=16, num_outs=5)
ANCHORS = dict(
    type='AnchorGenerator', octave_base_scale=4, scales_per_octave=3, ratios=[1.0], strides=[4, 8, 16, 32, 64]
)


def build(cfg: dict) -> nn.Module:
    """A detector in eval mode, with statistics that hide no mistake."""
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    return randomise(MODELS.build(ConfigDict(cfg))).eval()


def retinanet(width: int = 8) -> nn.Module:
    """RetinaNet R18 with so many channels in the stem, twice as many in FPN and head."""
    neck = dict(FPN, in_channels=[width, 2 * width, 4 * width, 8 * width], out_channels=2 * width)
    head = dict(
        type='RetinaHead',
        num_classes=3,
        in_channels=2 * width,
        feat_channels=2 * width,
        stacked_convs=2,
        anchor_generator=ANCHORS,
    )
    return build(
        dict(
            type='RetinaNet',
            backbone=dict(BACKBONE, base_channels=width),
            neck=neck,
            bbox_head=head,
            data_preprocessor=dict(type='DetDataPreprocessor'),
        )
    )


def mask_rcnn() -> nn.Module:
    """Mask R-CNN R18 with 16 channels in FPN and heads."""
    from mmengine.hub import get_config

    model = get_config('mmdet::_base_/models/mask-rcnn_r50_fpn.py').model
    model.backbone, model.neck = ConfigDict(BACKBONE), ConfigDict(FPN)
    roi = model.roi_head
    for part in (model.rpn_head, roi.bbox_head, roi.mask_head):
        part.in_channels = 16
    for extractor in (roi.bbox_roi_extractor, roi.mask_roi_extractor):
        extractor.out_channels = 16
    model.rpn_head.feat_channels = 16
    roi.bbox_head.update(fc_out_channels=32, num_classes=3, roi_feat_size=7)
    roi.mask_head.update(conv_out_channels=16, num_convs=2, num_classes=3)
    return build(model)
