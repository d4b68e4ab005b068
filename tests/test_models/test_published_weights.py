"""The published checkpoints load completely and reach their accuracy through config, data set and classifier."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

from mmprune.models import published_keys_of, rename_published
from mmprune.registry import DATASETS

CONFIGS = Path(__file__).parents[2] / 'configs' / '_base_'

# model config, data config, folder of the data, weights, {images: correct answers of the published network}
CASES = [
    ('resnet20_cifar', 'cifar10_lossless', 'cifar10', 'resnet20_cifar10', {256: 233, 1017: 932}),
    ('resnet56_nm_cifar', 'cifar10_lossless', 'cifar10', 'resnet56_nm_cifar10', {128: 121, 1017: 947}),
    ('lenet300_fmnist', 'fashion_mnist', 'fashion_mnist', 'lenet300_100_fashion_mnist', {1024: 927, 10000: 8980}),
]
RUNS = [
    pytest.param(*case[:4], images, correct, id=f'{case[0]}-{images}', marks=[pytest.mark.slow] * slow)
    for case in CASES
    for slow, (images, correct) in enumerate(case[4].items())
]


@pytest.mark.parametrize(('model_name', 'data_name', 'folder', 'weights', 'images', 'correct'), RUNS)
def test_published_checkpoint_reaches_its_accuracy(
    data_root, build_classifier, model_name, data_name, folder, weights, images, correct
):
    model = build_classifier(model_name)
    path = data_root / 'weights' / f'{weights}.pth'
    published = torch.load(path, map_location='cpu', weights_only=True)['state_dict']
    model.load_state_dict(rename_published(published, published_keys_of(model)), strict=True)

    config = Config.fromfile(CONFIGS / 'datasets' / f'{data_name}.py').test_dataloader.dataset
    config.update(data_root=str(data_root / folder), indices=images)
    dataset = DATASETS.build(config)
    assert len(dataset) == images
    batches = DataLoader(dataset, batch_size=128, collate_fn=default_collate)
    with torch.no_grad():
        samples = [sample for batch in batches for sample in model.test_step(batch)]
    hits = sum(int(sample.pred_label == sample.gt_label) for sample in samples)
    assert abs(hits - correct) <= 1, f'{hits} of {images}'
