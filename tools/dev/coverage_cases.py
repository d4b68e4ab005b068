"""Networks of mmdet and mmpretrain that the coverage matrix tries, and how their depth is cut (never their widths)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from tools.dev.fresh import words

#: One config per method and per backbone, relative to mmdet's config folder.
#: FPG and DyHead are not tried: they take minutes on a CPU.
DETECTORS = words(
    """
    faster_rcnn/faster-rcnn_r50_fpn_1x_coco faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco
    faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco mask_rcnn/mask-rcnn_r50_fpn_1x_coco
    cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco
    retinanet/retinanet_r50_fpn_1x_coco retinanet/retinanet_r18_fpn_1x_coco fcos/fcos_r50-caffe_fpn_gn-head_1x_coco
    atss/atss_r50_fpn_1x_coco gfl/gfl_r50_fpn_1x_coco paa/paa_r50_fpn_1x_coco tood/tood_r50_fpn_1x_coco
    vfnet/vfnet_r50_fpn_1x_coco ssd/ssd300_coco ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco
    yolo/yolov3_d53_8xb8-320-273e_coco yolo/yolov3_mobilenetv2_8xb24-320-300e_coco yolox/yolox_s_8xb8-300e_coco
    yolox/yolox_nano_8xb8-300e_coco rtmdet/rtmdet_tiny_8xb32-300e_coco rtmdet/rtmdet-ins_tiny_8xb32-300e_coco
    centernet/centernet_r18_8xb16-crop512-140e_coco centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco
    cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco detr/detr_r50_8xb2-150e_coco
    deformable_detr/deformable-detr_r50_16xb2-50e_coco conditional_detr/conditional-detr_r50_8xb2-50e_coco
    dab_detr/dab-detr_r50_8xb2-50e_coco dino/dino-4scale_r50_8xb2-12e_coco ddq/ddq-detr-4scale_r50_8xb2-12e_coco
    sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco queryinst/queryinst_r50_fpn_1x_coco yolact/yolact_r50_1xb8-55e_coco
    solo/solo_r50_fpn_1x_coco solo/decoupled-solo_r50_fpn_1x_coco solov2/solov2_r50_fpn_1x_coco
    condinst/condinst_r50_fpn_ms-poly-90k_coco_instance mask2former/mask2former_r50_8xb2-lsj-50e_coco
    maskformer/maskformer_r50_ms-16xb1-75e_coco panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco
    htc/htc-without-semantic_r50_fpn_1x_coco detectors/detectors_cascade-rcnn_r50_1x_coco
    libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco grid_rcnn/grid-rcnn_r50_fpn_gn-head_1x_coco
    double_heads/dh-faster-rcnn_r50_fpn_1x_coco dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco
    foveabox/fovea_r50_fpn_4xb4-1x_coco fsaf/fsaf_r50_fpn_1x_coco free_anchor/freeanchor_r50_fpn_1x_coco
    guided_anchoring/ga-retinanet_r50_fpn_1x_coco nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco
    nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco pafpn/faster-rcnn_r50_pafpn_1x_coco
    point_rend/point-rend_r50-caffe_fpn_ms-1x_coco reppoints/reppoints-moment_r50_fpn_1x_coco
    sabl/sabl-faster-rcnn_r50_fpn_1x_coco sabl/sabl-retinanet_r50_fpn_1x_coco scnet/scnet_r50_fpn_1x_coco
    tridentnet/tridentnet_r50-caffe_1x_coco yolof/yolof_r50-c5_8xb8-1x_coco autoassign/autoassign_r50-caffe_fpn_1x_coco
    ddod/ddod_r50_fpn_1x_coco ms_rcnn/ms-rcnn_r50_fpn_1x_coco rpn/rpn_r50_fpn_1x_coco
    cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco carafe/faster-rcnn_r50_fpn-carafe_1x_coco
    crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman boxinst/boxinst_r50_fpn_ms-90k_coco
    groie/faste-rcnn_r50_fpn_groie_1x_coco pisa/faster-rcnn_r50_fpn_pisa_1x_coco
    dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco gn/mask-rcnn_r50_fpn_gn-all_2x_coco
    gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco gcnet/mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco
    empirical_attention/faster-rcnn_r50-attn0010-dcn_fpn_1x_coco res2net/faster-rcnn_res2net-101_fpn_2x_coco
    faster_rcnn/faster-rcnn_x101-32x4d_fpn_1x_coco resnest/faster-rcnn_s50_fpn_syncbn-backbone+head_ms-range-1x_coco
    regnet/faster-rcnn_regnetx-3.2GF_fpn_1x_coco hrnet/faster-rcnn_hrnetv2p-w18-1x_coco
    convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco
    pvt/retinanet_pvt-t_fpn_1x_coco pvt/retinanet_pvtv2-b0_fpn_1x_coco
    efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco
""",
    '.py',
)
#: Methods that differ from another one in what is no matter of backbone, neck or a head's first layers.
SAME_INTERFACE = words("""
    dynamic_rcnn pisa dcn gn gn+ws empirical_attention gcnet resnest regnet convnext swin efficientnet boxinst crowddet
    free_anchor fsaf point_rend scnet htc ms_rcnn rpn autoassign ddod queryinst ddq conditional_detr dab_detr foveabox
    cascade_rpn groie panoptic_fpn tridentnet mask2former
""")
#: Those of them whose heads are tried as targets, one per kind of head.
HEADS = words(
    """
    faster_rcnn/faster-rcnn_r50_fpn_1x_coco mask_rcnn/mask-rcnn_r50_fpn_1x_coco
    cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco retinanet/retinanet_r18_fpn_1x_coco
    fcos/fcos_r50-caffe_fpn_gn-head_1x_coco atss/atss_r50_fpn_1x_coco yolo/yolov3_mobilenetv2_8xb24-320-300e_coco
    yolox/yolox_s_8xb8-300e_coco rtmdet/rtmdet_tiny_8xb32-300e_coco centernet/centernet_r18_8xb16-crop512-140e_coco
    double_heads/dh-faster-rcnn_r50_fpn_1x_coco detr/detr_r50_8xb2-150e_coco
""",
    '.py',
)
#: One config per backbone, relative to mmpretrain's config folder.
CLASSIFIERS = words(
    """
    resnet/resnet18_8xb32_in1k resnet/resnet50_8xb32_in1k resnet/resnet18_8xb16_cifar10
    resnext/resnext50-32x4d_8xb32_in1k seresnet/seresnet50_8xb32_in1k resnest/resnest50_32xb64_in1k
    res2net/res2net50-w26-s8_8xb32_in1k wrn/wide-resnet50_8xb32_in1k regnet/regnetx-1.6gf_8xb128_in1k
    repvgg/repvgg-A0_8xb32_in1k vgg/vgg16bn_8xb32_in1k densenet/densenet121_4xb256_in1k hrnet/hrnet-w18_4xb32_in1k
    cspnet/cspdarknet50_8xb32_in1k cspnet/cspresnet50_8xb32_in1k mobilenet_v2/mobilenet-v2_8xb32_in1k
    mobilenet_v3/mobilenet-v3-small_8xb128_in1k mobileone/mobileone-s0_8xb32_in1k
    shufflenet_v1/shufflenet-v1-1x_16xb64_in1k shufflenet_v2/shufflenet-v2-1x_16xb64_in1k
    efficientnet/efficientnet-b0_8xb32_in1k efficientnet_v2/efficientnetv2-b0_8xb32_in1k
    inception_v3/inception-v3_8xb32_in1k lenet/lenet5_mnist convnext/convnext-tiny_32xb128_in1k
    convnext_v2/convnext-v2-atto_32xb32_in1k convmixer/convmixer-768-32_10xb64_in1k replknet/replknet-31B_32xb64_in1k
    repmlp/repmlp-base_8xb64_in1k hornet/hornet-tiny_8xb128_in1k van/van-tiny_8xb128_in1k
    poolformer/poolformer-s12_32xb128_in1k riformer/riformer-s12_8xb128_in1k mobilevit/mobilevit-xxsmall_8xb128_in1k
    edgenext/edgenext-xsmall_8xb256_in1k efficientformer/efficientformer-l1_8xb128_in1k levit/levit-128s_8xb256_in1k
    conformer/conformer-tiny-p16_8xb128_in1k mlp_mixer/mlp-mixer-base-p16_64xb64_in1k
    vision_transformer/vit-base-p16_64xb64_in1k deit/deit-small_4xb256_in1k deit/deit-small-distilled_4xb256_in1k
    swin_transformer/swin-tiny_16xb64_in1k swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px
    t2t_vit/t2t-vit-t-14_8xb64_in1k tinyvit/tinyvit-5m_8xb256_in1k tnt/tnt-s-p16_16xb64_in1k
    twins/twins-svt-small_8xb128_in1k twins/twins-pcpvt-small_8xb128_in1k mvit/mvitv2-tiny_8xb256_in1k
    davit/davit-tiny_4xb256_in1k xcit/xcit-nano-12-p16_8xb128_in1k vig/vig-tiny_8xb128_in1k vig/pvig-tiny_8xb128_in1k
""",
    '.py',
)
#: Input (C, H, W) where 3 × 128 × 160 will not do.
SHAPES = {
    'ssd/ssd300_coco.py': (3, 300, 300),
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py': (3, 320, 320),
    'lenet/lenet5_mnist.py': (1, 32, 32),
    'resnet/resnet18_8xb16_cifar10.py': (3, 32, 32),
    'inception_v3/inception-v3_8xb32_in1k.py': (3, 299, 299),
    'cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py': (3, 128, 128),
    'ddod/ddod_r50_fpn_1x_coco.py': (3, 256, 320),
    'swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py': (3, 256, 256),
}
DETECTOR_SHAPE, CLASSIFIER_SHAPE = (3, 128, 160), (3, 224, 224)
#: At most so many boxes per image, for speed.
BOXES = {'nms_pre': 100, 'nms_post': 32, 'max_per_img': 32, 'num_queries': 100, 'num_proposals': 32}


@dataclass(frozen=True)
class Case:
    """One network and what is pruned of it.

    Attributes:
        host: 'mmdet' or 'mmpretrain'.
        config: Path in the host's config folder.
        target: Module path(s), joined by ' + '.
        interface: Whether the outputs of the target are pruned with what reads them.
    """

    host: str
    config: str
    target: str
    interface: bool = False

    @property
    def label(self) -> str:
        """The target as the matrix names it."""
        return self.target + (', interface' if self.interface else '')

    @property
    def name(self) -> str:
        """The case in one line."""
        return f'{self.host}/{self.config} [{self.label}]'

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return SHAPES.get(self.config, DETECTOR_SHAPE if self.host == 'mmdet' else CLASSIFIER_SHAPE)

    def read(self) -> Config:
        """The config, without any file of weights in it, and less deep, with fewer boxes per image."""
        cfg = Config.fromfile(Path(importlib.util.find_spec(self.host).origin).parent / '.mim/configs' / self.config)
        for part in dicts(cfg.model):
            part.update({key: None for key in ('pretrained', 'teacher_ckpt') if key in part})
            if 'checkpoint' in (part.get('init_cfg') or ()):
                part['init_cfg'] = None
            if str(part.get('type')).startswith('timm.'):
                part['pretrained'] = False
            part.update({key: min(part[key], most) for key, most in BOXES.items() if isinstance(part.get(key), int)})
            if 'num' in (part.get('sampler') or ()):
                part['sampler']['num'] = min(part['sampler']['num'], 32)
        _make_shallow(cfg.model)
        return cfg


def dicts(node: object) -> Iterator[dict]:
    """Every dict of a nested config, from the outside in."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts(child)


def _make_shallow(model: dict) -> None:
    """Fewer blocks of the same kinds, where a config says how many."""
    backbone = model.backbone
    if backbone.type == 'SwinTransformer' and 'depths' in backbone:
        backbone.depths = [2] * len(backbone.depths)
    if backbone.type in ('PyramidVisionTransformer', 'PyramidVisionTransformerV2'):
        backbone.num_layers = [1] * 4
    if backbone.type == 'VisionTransformer' and isinstance(backbone.get('arch'), str):
        backbone.out_indices = -1
    for neck in model.neck if isinstance(model.get('neck'), list) else []:
        if 'num_blocks' in neck:
            neck.num_blocks = 1
    for part in (model.get('encoder'), (model.get('panoptic_head') or {}).get('pixel_decoder', {}).get('encoder')):
        if part and 'num_layers' in part:
            part.num_layers = 1


def make_shallow_classes() -> None:
    """Fewer blocks of the same kinds, where a class says how many; for this process."""
    import mmdet.models.backbones as det
    import mmpretrain.models.backbones as cls

    for module in (det, cls):
        for name in vars(module):
            table = getattr(getattr(module, name), 'arch_settings', None)
            if isinstance(table, dict) and 'Res' in name and name != 'RegNet':
                for depth, entry in table.items():
                    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], tuple):
                        table[depth] = (entry[0], tuple(min(n, m) for n, m in zip(entry[1], (1, 2, 1, 1))))
    det.Darknet.arch_settings = {53: ((1, 2, 1, 1, 1), det.Darknet.arch_settings[53][1])}


def cases() -> Iterator[Case]:
    """Everything the matrix tries, the plainest targets first."""
    yield from (Case('mmdet', config, 'backbone') for config in DETECTORS)
    for config in HEADS:
        yield Case('mmdet', config, 'backbone + neck', interface=True)
        yield Case('mmdet', config, 'heads')
    yield from (
        Case('mmdet', config, 'backbone + neck', interface=True)
        for config in DETECTORS
        if config not in HEADS and config.partition('/')[0] not in SAME_INTERFACE
    )
    yield from (Case('mmpretrain', config, 'backbone') for config in CLASSIFIERS)
