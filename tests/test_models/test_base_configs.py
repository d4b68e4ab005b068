"""Each base config normalises with the statistics that its publication trained with, and builds."""

import pytest
import torch
from mmengine.config import Config

from tests.test_models.conftest import CONFIGS

CIFAR = (0.4914, 0.4822, 0.4465)
STATISTICS = {
    'densenet121_rd_cifar': (CIFAR, (0.247, 0.243, 0.261)),
    'densenet40_rg_cifar': (CIFAR, (0.2023, 0.1994, 0.2010)),
    'efficientnet-b0_rd_cifar': (CIFAR, (0.247, 0.243, 0.261)),
    'lenet300_fmnist': ((0.5,), (0.5,)),
    'resnet18_dfbf_cifar': (CIFAR, (0.2471, 0.2435, 0.2616)),
    'resnet18_rd_cifar': (CIFAR, (0.247, 0.243, 0.261)),
    'resnet20_cifar': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'resnet32_rd_cifar': (CIFAR, (0.247, 0.243, 0.261)),
    'resnet50_lbyl_cifar100': ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    'resnet56_nm_cifar': (CIFAR, (0.2023, 0.1994, 0.2010)),
    'resnet56_rg_cifar': (CIFAR, (0.2023, 0.1994, 0.2010)),
    'vgg16_dfbf_cifar': (CIFAR, (0.2471, 0.2435, 0.2616)),
    'vgg16_expanders_cifar': ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),
    'vgg16_lbyl_cifar': (CIFAR, (0.2023, 0.1994, 0.2010)),
    'vgg16_rd_cifar': (CIFAR, (0.247, 0.243, 0.261)),
    'vgg16_rg_cifar': (CIFAR, (0.2023, 0.1994, 0.2010)),
}


@pytest.mark.parametrize('name', STATISTICS)
def test_statistics_are_the_published_ones(name):
    config = Config.fromfile(CONFIGS / 'models' / f'{name}.py').model
    mean, std = STATISTICS[name]
    assert config.data_preprocessor.mean == pytest.approx([255 * value for value in mean])
    assert config.data_preprocessor.std == pytest.approx([255 * value for value in std])
    assert config.data_preprocessor.num_classes == config.head.num_classes
    assert not config.data_preprocessor.to_rgb


@pytest.mark.parametrize('name', STATISTICS)
def test_logits_have_one_column_per_class(build_classifier, name):
    shape = (2, 1, 28, 28) if name == 'lenet300_fmnist' else (2, 3, 32, 32)
    with torch.device('meta'), torch.no_grad():
        model = build_classifier(name)
        assert model(torch.rand(shape), mode='tensor').shape == (2, model.head.num_classes)
