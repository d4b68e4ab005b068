"""Images for the parts that want them, from a config's own data sets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmprune.errors import ConfigError
from mmprune.images.source import ImageSource

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class LoaderImages(ImageSource):
    """Images drawn from the data set of one of a config's loaders, as the model's preprocessor leaves them.

    Labels are dropped. Every process of a distributed run reads all of them. Where the data set augments at random,
    an image is augmented alike in every pass, whatever else the process draws and however many workers read.
    """

    def __init__(self, cfg: Config, model: nn.Module, loader: str, num_images: int, seed: int | None = None) -> None:
        """A selection; the data set is built when the first image is asked for.

        Args:
            cfg: Holds the data loaders' configs.
            model: Its ``data_preprocessor`` normalises the images (not wrapped).
            loader: 'train_dataloader', 'val_dataloader' or 'test_dataloader'.
            num_images: How many images to give; all, if the data set has fewer.
            seed: Decides which ones, and their augmentation.
        """
        if loader not in LOADERS:
            raise ConfigError(f'pruning.images: one of {", ".join(LOADERS)}, got {loader!r}')
        if cfg.get(loader) is None:
            raise ConfigError(f'pruning.images: this config has no {loader}')
        self._cfg, self._key, self._model = cfg[loader], loader, model
        self._wanted, self._seed, self.origin = num_images, seed or 0, f'images of {loader}, no labels'

    @property
    def num_images(self) -> int:
        """Images in all."""
        return len(self._items)

    def __iter__(self) -> Iterator[Tensor]:
        preprocessor = self._model.get_submodule('data_preprocessor')
        for batch in self._loader:
            with torch.no_grad():
                images = preprocessor(batch, training=False)['inputs']
            yield images

    @cached_property
    def _items(self) -> SeededItems:
        try:
            dataset = DATASETS.build(self._cfg['dataset'])
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
        except OSError as error:
            raise ConfigError(f'{self._key}: its data cannot be read ({error}); pruning.images needs it') from error
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(self._seed))
        return SeededItems(dataset, order[: self._wanted].tolist(), self._seed)

    @cached_property
    def _loader(self) -> DataLoader:
        collate = dict(self._cfg.get('collate_fn') or dict(type='pseudo_collate'))
        return DataLoader(
            self._items,
            batch_size=self._cfg.get('batch_size') or 1,
            num_workers=self._cfg.get('num_workers', 0),
            collate_fn=partial(FUNCTIONS.get(collate.pop('type')), **collate),
        )


class SeededItems(Dataset):
    """Some items of a data set, each with random numbers of its own: the same item however often it is read."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], seed: int) -> None:
        """Choose items.

        Args:
            dataset: All items.
            indices: Those wanted, in their order.
            seed: Decides, with an item's index, its random numbers.
        """
        self._dataset, self._indices, self._seed = dataset, indices, seed

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> Any:
        index = self._indices[number]
        with _drawing_from(self._seed, index):
            return self._dataset[index]


@contextmanager
def _drawing_from(*seed: int) -> Iterator[None]:
    """Random numbers of Python, NumPy and PyTorch (CPU) from a seed of their own; the process's go on behind it."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    own = int(np.random.SeedSequence(seed).generate_state(1)[0])
    try:
        random.seed(own)
        np.random.seed(own)
        torch.default_generator.manual_seed(own)
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
