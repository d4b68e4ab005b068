"""Synthetic images reach the model as they were made, through the host's own preprocessor."""

import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import Tensor, nn

from mmprune.datasets import Digits, RandomSubset, SyntheticImages
from mmprune.registry import DATASETS

MEAN, STD = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]


class Store:
    """A few images in memory."""

    def __init__(self, count: int = 5, shape: tuple[int, ...] = (3, 6, 8)) -> None:
        self.num_images, self._images = count, torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))

    def image(self, index: int) -> Tensor:
        return self._images[index]


PREPROCESSORS = {
    'classifier': lambda: ClsDataPreprocessor(mean=MEAN, std=STD),
    'classifier, BGR files': lambda: ClsDataPreprocessor(mean=MEAN, std=STD, to_rgb=True),
    'classifier, no statistics': lambda: ClsDataPreprocessor(),
    'detector': lambda: DetDataPreprocessor(mean=MEAN, std=STD),
    'detector, BGR files': lambda: DetDataPreprocessor(mean=MEAN, std=STD, bgr_to_rgb=True),
    'detector, no statistics': lambda: DetDataPreprocessor(),
}


def attached(preprocessor: nn.Module, **store: object) -> SyntheticImages:
    dataset = SyntheticImages(num_images=5)
    dataset.attach(Store(**store), preprocessor)
    return dataset


@pytest.mark.parametrize('name', PREPROCESSORS)
@pytest.mark.parametrize('collate', [default_collate, pseudo_collate])
def test_the_preprocessor_gives_back_the_store(name: str, collate: object) -> None:
    preprocessor = PREPROCESSORS[name]()
    dataset = attached(preprocessor)
    if collate is default_collate and name.startswith('detector'):
        pytest.skip('mmdet collates lists')
    batch = preprocessor(collate([dataset[i] for i in (3, 0)]), training=True)
    assert batch['inputs'].dtype == torch.float32
    assert torch.allclose(batch['inputs'], torch.stack([Store().image(3), Store().image(0)]), atol=2e-6)


def test_detectors_get_samples_without_boxes() -> None:
    dataset = attached(DetDataPreprocessor(mean=MEAN, std=STD, pad_size_divisor=32))
    sample = dataset[2]['data_samples']
    assert type(sample).__name__ == 'DetDataSample' and len(sample.gt_instances) == 0
    assert sample.img_shape == sample.ori_shape == (6, 8) and sample.scale_factor == (1.0, 1.0)
    batch = DetDataPreprocessor(mean=MEAN, std=STD, pad_size_divisor=32)(pseudo_collate([dataset[0]]), training=True)
    assert batch['inputs'].shape == (1, 3, 32, 32) and not batch['inputs'][..., 8:].any()


def test_classifiers_that_mix_images_get_a_label() -> None:
    preprocessor = ClsDataPreprocessor(
        mean=MEAN, std=STD, num_classes=4, batch_augments=dict(augments=dict(type='Mixup', alpha=0.8))
    )
    dataset = attached(preprocessor)
    assert preprocessor(default_collate([dataset[0], dataset[1]]), training=True)['inputs'].shape == (2, 3, 6, 8)


def test_grey_images_are_not_flipped() -> None:
    preprocessor = ClsDataPreprocessor(mean=[127.5], std=[127.5], to_rgb=True)
    dataset = attached(preprocessor, shape=(1, 4, 4))
    assert torch.allclose(
        preprocessor(default_collate([dataset[1]]))['inputs'][0], Store(shape=(1, 4, 4)).image(1), atol=1e-6
    )


def test_length_comes_from_the_config_and_must_be_that_of_the_store() -> None:
    dataset = DATASETS.build(dict(type='mmprune.SyntheticImages', num_images=5, metainfo=dict(classes=('a', 'b'))))
    assert len(dataset) == 5 and dataset.metainfo['classes'] == ('a', 'b')
    with pytest.raises(RuntimeError, match='attach'):
        dataset[0]
    with pytest.raises(ValueError, match='num_images is 5, the store holds 7'):
        dataset.attach(Store(7), ClsDataPreprocessor())
    dataset.attach(Store(), ClsDataPreprocessor())
    assert dataset.get_data_info(0) == dict(height=6, width=8, sample_idx=0)


def test_random_subset() -> None:
    inner = dict(type='mmprune.Digits', split='test', size=8, pipeline=[])
    subset = RandomSubset(inner, num_images=20, seed=3)
    whole = Digits('test', size=8)
    assert len(subset) == 20 and subset.metainfo['classes'] == whole.metainfo['classes']
    labels = [subset[i]['gt_label'] for i in range(20)]
    assert labels == [RandomSubset(inner, 20, seed=3)[i]['gt_label'] for i in range(20)]
    assert labels != [RandomSubset(inner, 20, seed=4)[i]['gt_label'] for i in range(20)]
    assert subset.get_data_info(5)['gt_label'] == labels[5]
    assert len(RandomSubset(inner)) == len(RandomSubset(inner, 10**6)) == len(whole)
