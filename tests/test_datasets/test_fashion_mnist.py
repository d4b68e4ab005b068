import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from mmprune.datasets import FashionMNIST
from mmprune.registry import DATASETS

CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'fashion_mnist.py'


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f'>{1 + array.ndim}i', 0x0800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def test_split(tmp_path) -> tuple[np.ndarray, Path]:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    (tmp_path / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(_idx(images)))
    (tmp_path / 't10k-labels-idx1-ubyte').write_bytes(_idx(np.arange(5, dtype=np.uint8)))
    return images, tmp_path


@pytest.mark.parametrize('test_mode', [False, True])
def test_reads_the_files_of_its_split_packed_or_not(test_split, test_mode):
    images, folder = test_split
    before = sorted(path.name for path in folder.iterdir())
    dataset = FashionMNIST(str(folder), split='test', test_mode=test_mode, pipeline=[{'type': 'PackInputs'}])
    assert [int(item['data_samples'].gt_label) for item in dataset] == [0, 1, 2, 3, 4]
    assert np.array_equal(dataset[3]['inputs'][0].numpy(), images[3])
    assert sorted(path.name for path in folder.iterdir()) == before


def test_missing_file_names_the_config_key(test_split):
    with pytest.raises(FileNotFoundError, match=r'train-images-idx3-ubyte\.gz; set data_root'):
        FashionMNIST(str(test_split[1]), split='train')


def test_wrong_split_is_named(test_split):
    with pytest.raises(ValueError, match="split='val'"):
        FashionMNIST(str(test_split[1]), split='val')


def test_base_config_reads_the_published_files(data_root):
    config = Config.fromfile(CONFIG).test_dataloader.dataset
    config.data_root = str(data_root / 'fashion_mnist')
    dataset = DATASETS.build(config)
    assert len(dataset) == 10000
    assert tuple(dataset[0]['inputs'].shape) == (1, 28, 28)
    assert [int(dataset[i]['data_samples'].gt_label) for i in range(5)] == [9, 2, 1, 1, 6]
    assert dataset.CLASSES[9] == 'Ankle boot'
