"""Images for the parts that want them, from a config's own data sets; and synthetic ones for its training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial

import torch
from mmengine.config import Config
from mmengine.dataset import worker_init_fn
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mmprune.errors import ConfigError
from mmprune.images.source import ImageSource

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class LoaderImages(ImageSource):
    """Images drawn from the data set of one of a config's loaders, as the model's preprocessor leaves them.

    Labels are dropped. Every process of a distributed run reads all of them.
    """

    def __init__(self, cfg: Config, model: nn.Module, loader: str, num_images: int, seed: int | None = None) -> None:
        """A selection; the data set is built when the first image is asked for.

        Args:
            cfg: Holds the data loaders' configs.
            model: Its ``data_preprocessor`` normalises the images (not wrapped).
            loader: 'train_dataloader', 'val_dataloader' or 'test_dataloader'.
            num_images: How many images to give; all, if the data set has fewer.
            seed: Decides which ones.
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
        return len(self._loader.dataset)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self._loader:
            with torch.no_grad():
                images = self._model.data_preprocessor(batch, training=False)['inputs']
            yield images

    @cached_property
    def _loader(self) -> DataLoader:
        try:
            dataset = DATASETS.build(self._cfg['dataset'])
            if hasattr(dataset, 'full_init'):
                dataset.full_init()
        except OSError as error:
            raise ConfigError(f'{self._key}: its data cannot be read ({error}); pruning.images needs it') from error
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(self._seed))
        collate = dict(self._cfg.get('collate_fn') or dict(type='pseudo_collate'))
        workers = self._cfg.get('num_workers', 0)
        return DataLoader(
            Subset(dataset, order[: self._wanted].tolist()),
            batch_size=self._cfg.get('batch_size') or 1,
            num_workers=workers,
            collate_fn=partial(FUNCTIONS.get(collate.pop('type')), **collate),
            worker_init_fn=partial(worker_init_fn, num_workers=workers, rank=0, seed=self._seed),
        )
