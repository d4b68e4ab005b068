from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmprune.datasets import Digits
from mmprune.registry import DATASETS

CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'digits.py'


def test_split_is_fixed_stratified_and_complete():
    train, test = Digits('train'), Digits('test')
    assert (len(train), len(test)) == (1437, 360)
    labels = np.array([test.get_data_info(i)['gt_label'] for i in range(len(test))])
    assert np.bincount(labels).min() >= 34
    assert np.bincount(labels).max() <= 37
    again = Digits('test')
    assert all(np.array_equal(test[i]['img'], again[i]['img']) for i in range(len(test)))
    images = {item['img'].tobytes() for split in (train, test) for item in (split[i] for i in range(len(split)))}
    assert len(images) == 1797  # no two digits are equal, so the splits do not overlap


def test_another_seed_is_another_split():
    first, second = Digits('test', size=8, indices=20), Digits('test', size=8, seed=1, indices=20)
    assert any(not np.array_equal(first[i]['img'], second[i]['img']) for i in range(20))


@pytest.mark.parametrize(('channels', 'size'), [(3, 32), (1, 28)])
def test_images_use_the_whole_grey_scale(channels, size):
    dataset = Digits('train', size=size, channels=channels, indices=100)
    images = np.stack([dataset[i]['img'] for i in range(100)])
    assert images.shape == (100, size, size, channels)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert np.array_equal(images[..., 0], images[..., -1])


def test_base_config_gives_packed_inputs_and_its_statistics():
    config = Config.fromfile(CONFIG)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    item = dataset[0]
    assert tuple(item['inputs'].shape) == (3, 32, 32)
    assert int(item['data_samples'].gt_label) == dataset.get_data_info(0)['gt_label']
    assert dataset.metainfo['classes'] == tuple('0123456789')
    pixels = np.stack([dataset.get_data_info(i)['img'] for i in range(len(dataset))])
    assert pixels.mean() == pytest.approx(config.data_preprocessor.mean[0], abs=1)
    assert pixels.std() == pytest.approx(config.data_preprocessor.std[0], abs=1)


@pytest.mark.parametrize(
    ('arguments', 'message'), [({'split': 'val'}, "split='val'"), ({'channels': 2}, 'channels=2')]
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Digits(**arguments)
