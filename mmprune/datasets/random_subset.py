"""Some images of a data set, drawn once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dataset import BaseDataset

from mmprune.registry import DATASETS


@DATASETS.register_module()
class RandomSubset(BaseDataset):
    """A seeded selection from any other data set, in the other's order.

    Example:
        >>> len(RandomSubset(dict(type='mmprune.Digits', split='train'), num_images=100))
        100
    """

    _fully_initialized: bool

    def __init__(self, dataset: dict, num_images: int | None = None, seed: int = 0) -> None:
        """Configure the data set.

        Args:
            dataset: Config of the data set to draw from.
            num_images: How many items; None, or more than there are: all.
            seed: Decides which ones.
        """
        self.dataset = DATASETS.build(dataset)
        super().__init__(metainfo=dict(self.dataset.metainfo), serialize_data=False, lazy_init=True)
        self.num_images, self.seed = num_images, seed
        self._chosen: list[int] = []

    def full_init(self) -> None:
        """Load the other data set and draw."""
        if self._fully_initialized:
            return
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        order = torch.randperm(len(self.dataset), generator=torch.Generator().manual_seed(self.seed))
        self._chosen = sorted(order[: self.num_images].tolist())
        self._fully_initialized = True

    def __len__(self) -> int:
        self.full_init()
        return len(self._chosen)

    def get_data_info(self, idx: int) -> dict:
        """The other data set's."""
        self.full_init()
        return self.dataset.get_data_info(self._chosen[idx])

    def __getitem__(self, idx: int) -> dict:
        self.full_init()
        return self.dataset[self._chosen[idx]]

    def update_skip_type_keys(self, keys: Sequence[str] | None) -> None:
        """Hand on what hooks of some detectors ask for their last epochs."""
        if hasattr(self.dataset, 'update_skip_type_keys'):
            self.dataset.update_skip_type_keys(keys)
