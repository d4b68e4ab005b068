from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmprune.datasets import ArrayDataset
from mmprune.registry import DATASETS

CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'cifar10_lossless.py'


@pytest.fixture
def archive(tmp_path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / 'ten.npz', x=images, y=np.arange(10, dtype=np.uint8), grey=images[..., 0], short=np.arange(9))
    return tmp_path / 'ten.npz'


def test_items_are_the_arrays(archive):
    dataset = ArrayDataset(archive.name, data_root=str(archive.parent), metainfo={'classes': list('abcdefghij')})
    images = np.load(archive)['x']
    assert len(dataset) == 10
    assert np.array_equal(dataset[7]['img'], images[7])
    assert dataset[7]['gt_label'] == 7
    assert list('abcdefghij') == dataset.CLASSES


def test_indices_take_a_part(archive):
    assert [item['gt_label'] for item in ArrayDataset(str(archive), indices=3)] == [0, 1, 2]
    assert [item['gt_label'] for item in ArrayDataset(str(archive), indices=[4, 2])] == [4, 2]


def test_grey_images_get_a_channel(archive):
    dataset = ArrayDataset(str(archive), image_key='grey', pipeline=[{'type': 'PackInputs'}])
    assert tuple(dataset[0]['inputs'].shape) == (1, 4, 6)


def test_missing_file_names_the_config_keys(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.npz; set data_root and ann_file'):
        ArrayDataset('absent.npz', data_root=str(tmp_path))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'image_key': 'images'}, KeyError, "image_key='images'.*'x'"),
        ({'label_key': 'labels'}, KeyError, "label_key='labels'"),
        ({'image_key': 'y'}, ValueError, 'must be uint8 of shape'),
        ({'label_key': 'short'}, ValueError, r'shape \(9,\) for 10 images'),
    ],
)
def test_wrong_content_names_the_config_key(archive, arguments, error, message):
    with pytest.raises(error, match=message):
        ArrayDataset(str(archive), **arguments)


def test_base_config_reads_both_cifar_archives(data_root):
    config = Config.fromfile(CONFIG)
    for loader, size in (('train_dataloader', 8068), ('test_dataloader', 1017)):
        dataset_config = config[loader].dataset
        dataset_config.data_root = str(data_root / 'cifar10')
        dataset = DATASETS.build(dataset_config)
        assert len(dataset) == size
        assert tuple(dataset[0]['inputs'].shape) == (3, 32, 32)
        assert len(dataset.CLASSES) == 10
