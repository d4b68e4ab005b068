"""Networks that neither mmpretrain nor mmdet has: the backbones of the published CIFAR experiments."""

from mmprune.models.cifar_densenet import CIFARDenseNet
from mmprune.models.cifar_efficientnet import CIFAREfficientNet
from mmprune.models.cifar_resnet import CIFARResNet
from mmprune.models.cifar_vgg import CIFARVGG
from mmprune.models.lenet import LeNet300
from mmprune.models.mlp_neck import MLPNeck
from mmprune.models.pruned import build_pruned
from mmprune.models.published import published_keys_of, rename_published
from mmprune.models.vgg_bn import VGGBN
from mmprune.models.wide_cifar_resnet import WideCIFARResNet

__all__ = [
    'CIFARDenseNet',
    'CIFAREfficientNet',
    'CIFARResNet',
    'CIFARVGG',
    'LeNet300',
    'MLPNeck',
    'VGGBN',
    'WideCIFARResNet',
    'build_pruned',
    'published_keys_of',
    'rename_published',
]
