"""Synthetic images in the place of a training set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmprune.images.store import ImageStore
from mmprune.registry import DATASETS


@DATASETS.register_module()
class SyntheticImages(BaseDataset):
    """Images of a store as items of an ordinary mm training set.

    The store holds normalised images; items hold what the host's own preprocessor turns back into them (to float32
    rounding): pixels in its range and channel order, float32. So real and synthetic images take the same road and can
    be mixed. Labels are placeholders: class 0 for a classifier, no boxes for a detector.

    Loaders are built before the images exist: the length comes from the config, the images from :meth:`attach`.

    Example:
        >>> dataset = SyntheticImages(num_images=1600)
        >>> dataset.attach(store, model.data_preprocessor)
        >>> dataset[0]['inputs'].shape
        torch.Size([3, 250, 250])
    """

    def __init__(self, num_images: int, metainfo: dict | None = None) -> None:
        """A data set of known length, without its images yet.

        Args:
            num_images: Number of images in the store that will be attached.
            metainfo: As in every mm data set, e.g. the ``classes``.
        """
        super().__init__(metainfo=metainfo, serialize_data=False, lazy_init=True)
        self.num_images = num_images
        self._store: ImageStore | None = None

    def attach(self, store: ImageStore, preprocessor: nn.Module) -> None:
        """Say where the images are and what normalises them.

        Args:
            store: The images.
            preprocessor: The host's ``data_preprocessor``.
        """
        if store.num_images != self.num_images:
            raise ValueError(f'SyntheticImages: num_images is {self.num_images}, the store holds {store.num_images}')
        self._store, self._is_detector = store, _is_mmdet(preprocessor)
        self._flips = bool(getattr(preprocessor, 'to_rgb', getattr(preprocessor, '_channel_conversion', False)))
        self._mean, self._std = (
            getattr(preprocessor, key).detach().cpu().clone() if hasattr(preprocessor, key) else None
            for key in ('mean', 'std')
        )

    def full_init(self) -> None:
        """Nothing is loaded ahead."""
        self._fully_initialized = True

    def __len__(self) -> int:
        return self.num_images

    def get_data_info(self, idx: int) -> dict:
        """Height and width, for samplers that ask."""
        height, width = self._image(idx).shape[-2:]
        return dict(height=height, width=width, sample_idx=idx)

    def __getitem__(self, idx: int) -> dict:
        image = self._image(idx)
        pixels = image if self._mean is None or self._std is None else image * self._std + self._mean
        if self._flips and len(pixels) == 3:
            pixels = pixels.flip(0)
        return dict(inputs=pixels, data_samples=self._sample(idx, image.shape[-2:]))

    def update_skip_type_keys(self, keys: Sequence[str] | None) -> None:
        """Do nothing: hooks of some detectors switch off augmentations of the last epochs, and there are none."""

    def _image(self, idx: int) -> Tensor:
        if self._store is None:
            raise RuntimeError('SyntheticImages: no images yet; the pruning hook attaches them before training')
        return self._store.image(int(idx))

    def _sample(self, idx: int, shape: torch.Size) -> BaseDataElement:
        meta: dict[str, Any] = dict(sample_idx=idx, img_shape=tuple(shape), ori_shape=tuple(shape))
        if not self._is_detector:
            from mmpretrain.structures import DataSample

            return DataSample(metainfo=meta).set_gt_label(0)
        from mmdet.structures import DetDataSample

        meta.update(img_id=idx, pad_shape=tuple(shape), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), metainfo=meta
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long), metainfo=meta
        )
        return sample


def _is_mmdet(preprocessor: nn.Module) -> bool:
    return any(cls.__module__.startswith('mmdet.') for cls in type(preprocessor).__mro__)
