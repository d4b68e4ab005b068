"""Backbones (and necks) of every kind to prune, small enough for a CPU, with statistics that hide no mistake."""

from __future__ import annotations

import torch
import torchvision
from mmdet.registry import MODELS as MMDET
from mmdet.utils import register_all_modules
from mmpretrain.registry import MODELS as MMPRETRAIN
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmprune.models  # noqa: F401
from mmprune.registry import MODELS

BN = dict(type='BN')


class Classifier(nn.Module):
    """Backbone, global average pooling and a linear layer."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        features = features[-1] if isinstance(features, tuple) else features
        return self.head(features.mean(dim=(2, 3)))


class Detector(nn.Module):
    """Backbone and neck, as in a detector."""

    def __init__(self, backbone: nn.Module, neck: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck or nn.Identity()

    def forward(self, images: Tensor) -> object:
        return self.neck(self.backbone(images))


def mmdet(neck: dict | None = None, **backbone: object) -> Detector:
    register_all_modules(init_default_scope=False)
    return Detector(MMDET.build(backbone), neck and MMDET.build(neck))


def mmpretrain(**backbone: object) -> nn.Module:
    import mmpretrain.models  # noqa: F401

    return MMPRETRAIN.build(backbone)


def ours(**backbone: object) -> nn.Module:
    return MODELS.build(dict(backbone, type=f'mmprune.{backbone["type"]}'))


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics far from a fresh network's: scales of both signs, shifts, means and variances; biases too."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    with torch.no_grad():
        for module in model.modules():
            if type(module).__name__ == 'L2Norm':  # mmdet leaves its weight as found in memory
                module.weight.uniform_(0.5, 1.5, generator=generator)
            if isinstance(module, _BatchNorm):
                if module.weight is not None:
                    sign = torch.where(draw(module.weight) > -0.8, 1.0, -1.0)
                    module.weight.copy_(sign * (0.5 + draw(module.weight).abs() / 2))
                    module.bias.copy_(draw(module.bias) / 2)
                if module.running_mean is not None:
                    module.running_mean.copy_(draw(module.running_mean) / 2)
                    module.running_var.copy_(0.5 + draw(module.running_var).square())
            elif isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
                if module.weight.std() < 0.02:
                    module.weight.copy_(draw(module.weight) / module.weight[0].numel() ** 0.5)
                if module.bias is not None:
                    module.bias.copy_(draw(module.bias) / 4)
            elif isinstance(module, nn.LayerNorm):
                module.weight.copy_(0.5 + draw(module.weight).abs())
                module.bias.copy_(draw(module.bias) / 2)
            elif isinstance(module, nn.PReLU):
                module.weight.copy_(0.25 + draw(module.weight) / 8)
            for name in ('gamma', 'layer_scale'):
                if isinstance(getattr(module, name, None), nn.Parameter):
                    getattr(module, name).copy_(draw(getattr(module, name)))
    model.eval()  # not returned: mmpretrain's backbones return None here
    return model


YOLOV3_NECK = dict(type='YOLOV3Neck', num_scales=3, in_channels=[1024, 512, 256], out_channels=[512, 256, 128])

NETWORKS = {
    'torchvision ResNet-18': lambda: torchvision.models.resnet18(),
    'torchvision ResNet-50': lambda: torchvision.models.resnet50(),
    'torchvision VGG-16-BN': lambda: torchvision.models.vgg16_bn(),
    'torchvision MobileNetV2': lambda: torchvision.models.mobilenet_v2(),
    'torchvision MobileNetV3': lambda: torchvision.models.mobilenet_v3_small(),
    'torchvision DenseNet': lambda: torchvision.models.DenseNet(
        growth_rate=12, block_config=(3, 4), num_init_features=24
    ),
    'torchvision GoogLeNet': lambda: torchvision.models.googlenet(aux_logits=False, init_weights=False),
    'torchvision ResNeXt': lambda: torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], groups=32, width_per_group=4
    ),
    'torchvision RegNetY': lambda: torchvision.models.regnet_y_400mf(),
    'torchvision EfficientNet-B0': lambda: torchvision.models.efficientnet_b0(),
    'torchvision ShuffleNetV2': lambda: torchvision.models.shufflenet_v2_x0_5(),
    'torchvision ConvNeXt': lambda: torchvision.models.convnext_tiny(),
    'mmpretrain ResNet-50': lambda: mmpretrain(type='ResNet', depth=50, out_indices=(0, 1, 2, 3)),
    'mmpretrain VGG-16': lambda: mmpretrain(type='VGG', depth=11, norm_cfg=BN),
    'mmpretrain MobileNetV2': lambda: mmpretrain(type='MobileNetV2'),
    'mmpretrain MobileNetV3': lambda: mmpretrain(type='MobileNetV3', arch='small'),
    'mmpretrain DenseNet': lambda: mmpretrain(
        type='DenseNet', arch=dict(growth_rate=12, depths=[2, 3], init_channels=24)
    ),
    'mmpretrain ShuffleNetV2': lambda: mmpretrain(type='ShuffleNetV2'),
    'mmpretrain EfficientNet-B0': lambda: mmpretrain(type='EfficientNet', arch='b0'),
    'mmpretrain RegNetX': lambda: mmpretrain(type='RegNet', arch='regnetx_400mf'),
    'mmpretrain SEResNet': lambda: mmpretrain(type='SEResNet', depth=50),
    'mmpretrain ResNeXt': lambda: mmpretrain(type='ResNeXt', depth=50),
    'mmpretrain ConvNeXt': lambda: mmpretrain(
        type='ConvNeXt', arch=dict(depths=[1, 1, 2, 1], channels=[16, 32, 48, 64])
    ),
    'mmpretrain Swin': lambda: mmpretrain(
        type='SwinTransformer',
        img_size=64,
        arch=dict(embed_dims=24, depths=[1, 2, 1, 1], num_heads=[2, 4, 4, 4]),
        window_size=2,
    ),
    'mmpretrain ViT': lambda: mmpretrain(
        type='VisionTransformer',
        img_size=64,
        patch_size=16,
        arch=dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=96),
    ),
    'mmpretrain RepVGG': lambda: mmpretrain(type='RepVGG', arch='A0'),
    'CIFAR ResNet-56': lambda: Classifier(ours(type='CIFARResNet', depth=56, shortcut='conv1x1'), 64),
    'CIFAR ResNet-20 option A': lambda: Classifier(ours(type='CIFARResNet', depth=20), 64),
    'CIFAR VGG-16': lambda: Classifier(ours(type='CIFARVGG'), 512),
    'CIFAR DenseNet': lambda: Classifier(ours(type='CIFARDenseNet'), 456),
    'mmdet ResNet-50 FPN': lambda: mmdet(
        type='ResNet',
        depth=50,
        frozen_stages=1,
        norm_eval=True,
        neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=64, num_outs=5),
    ),
    'mmdet CSPDarknet YOLOXPAFPN': lambda: mmdet(
        type='CSPDarknet',
        deepen_factor=0.33,
        widen_factor=0.25,
        neck=dict(type='YOLOXPAFPN', in_channels=[64, 128, 256], out_channels=64, num_csp_blocks=1),
    ),
    'mmdet CSPNeXt PAFPN': lambda: mmdet(
        type='CSPNeXt',
        deepen_factor=0.167,
        widen_factor=0.25,
        norm_cfg=BN,
        act_cfg=dict(type='SiLU'),
        neck=dict(
            type='CSPNeXtPAFPN',
            in_channels=[64, 128, 256],
            out_channels=64,
            num_csp_blocks=1,
            norm_cfg=BN,
            act_cfg=dict(type='SiLU'),
        ),
    ),
    'mmdet SSDVGG': lambda: mmdet(
        type='SSDVGG', depth=16, out_indices=(3, 4), out_feature_indices=(22, 34), ceil_mode=True
    ),
    'mmdet Darknet-53 YOLOV3Neck': lambda: mmdet(type='Darknet', depth=53, out_indices=(3, 4, 5), neck=YOLOV3_NECK),
    'mmdet MobileNetV2 YOLOV3Neck': lambda: mmdet(
        type='MobileNetV2',
        out_indices=(2, 4, 6),
        neck=dict(type='YOLOV3Neck', num_scales=3, in_channels=[320, 96, 32], out_channels=[96, 96, 96]),
    ),
    'mmdet SSDVGG SSDNeck': lambda: mmdet(
        type='SSDVGG',
        depth=16,
        out_indices=(3, 4),
        out_feature_indices=(22, 34),
        ceil_mode=True,
        neck=dict(
            type='SSDNeck',
            in_channels=(512, 1024),
            out_channels=(512, 1024, 64, 64),
            level_strides=(2, 1),
            level_paddings=(1, 1),
            l2_norm_scale=20,
        ),
    ),
    'mmdet Res2Net': lambda: mmdet(type='Res2Net', depth=50, scales=4, base_width=26),
    'mmdet HRNet': lambda: mmdet(
        type='HRNet',
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(1,), num_channels=(16,)),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(1, 1), num_channels=(8, 16)),
            stage3=dict(num_modules=1, num_branches=3, block='BASIC', num_blocks=(1, 1, 1), num_channels=(8, 16, 32)),
            stage4=dict(
                num_modules=1, num_branches=4, block='BASIC', num_blocks=(1,) * 4, num_channels=(8, 16, 32, 64)
            ),
        ),
    ),
    'mmdet Swin': lambda: mmdet(
        type='SwinTransformer', embed_dims=24, depths=(1, 1, 1, 1), num_heads=(2, 2, 4, 4), window_size=4
    ),
}
