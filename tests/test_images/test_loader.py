"""Images of a config's loader: the same ones in every pass, whatever is drawn in between."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmprune.images.loader import LoaderImages


class Noisy(Dataset):
    """Images 0 … 9 with random numbers of three kinds beside them, as augmentations draw them."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict:
        drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return dict(inputs=torch.tensor([float(index), *drawn]).view(1, 2, 2), data_samples=None)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    DATASETS.register_module(module=Noisy, force=True)
    yield
    DATASETS.module_dict.pop('Noisy')


def images_of(workers: int = 0, seed: int = 0, batch_size: int = 4) -> LoaderImages:
    model = nn.Module()
    model.data_preprocessor = BaseDataPreprocessor()
    loader = dict(dataset=dict(type='Noisy'), num_workers=workers, batch_size=batch_size)
    return LoaderImages(Config(dict(train_dataloader=loader)), model, 'train_dataloader', 7, seed)


def read(images: LoaderImages) -> Tensor:
    return torch.stack([image for batch in images for image in batch])


def test_random_augmentations_are_the_same_in_every_pass() -> None:
    images = images_of()
    first = read(images)
    random.random(), np.random.rand(), torch.rand(3)
    assert torch.equal(read(images), first)
    assert first.flatten(1)[:, 1:].unique().numel() == 7 * 3, 'every image has random numbers of its own'


def test_neither_workers_nor_batches_change_them() -> None:
    assert torch.equal(read(images_of(workers=2, batch_size=3)), read(images_of()))


def test_the_seed_decides_them() -> None:
    one, other = read(images_of()), read(images_of(seed=1))
    assert not set(one.flatten(1)[:, 1:].flatten().tolist()) & set(other.flatten(1)[:, 1:].flatten().tolist())


def test_reading_draws_nothing_from_the_process() -> None:
    def following() -> tuple:
        return random.random(), float(np.random.rand())

    random.seed(0), np.random.seed(0)
    expected = following()
    random.seed(0), np.random.seed(0)
    read(images_of())
    assert following() == expected
