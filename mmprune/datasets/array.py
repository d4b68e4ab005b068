"""Images and labels from one ``.npz`` file."""

from pathlib import Path

import numpy as np
from mmpretrain.datasets import BaseDataset

from mmprune.registry import DATASETS


@DATASETS.register_module()
class ArrayDataset(BaseDataset):
    """Labelled images in a numpy archive, e.g. an exact subset of CIFAR-10.

    Every item has ``img``, a uint8 array of shape (H, W, C), and ``gt_label``.

    Example:
        >>> ArrayDataset('cifar10_test.npz', data_root='data/cifar10', indices=256)[0]['img'].shape
        (32, 32, 3)
    """

    def __init__(
        self, ann_file: str, data_root: str = '', image_key: str = 'x', label_key: str = 'y', **kwargs
    ) -> None:
        """Configure the data set.

        Args:
            ann_file: The archive, relative to ``data_root`` or absolute.
            data_root: Folder of the archive.
            image_key: Name of the images in the archive: uint8, shape (N, H, W, C) or (N, H, W).
            label_key: Name of the labels: integers, shape (N,).
            indices: An integer for the first images only, or the list of images to use. Defaults to all.
            **kwargs: As in mmpretrain's ``BaseDataset``: ``metainfo`` (with the ``classes``), ``pipeline``, ….
        """
        self.image_key, self.label_key = image_key, label_key
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """All items of the archive, checked."""
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'ArrayDataset: no file {path}; set data_root and ann_file of the dataset')
        with np.load(path) as archive:
            for option in ('image_key', 'label_key'):
                key = getattr(self, option)
                if key not in archive:
                    raise KeyError(f'ArrayDataset: {option}={key!r} is not in {path}, which holds {archive.files}')
            images, labels = archive[self.image_key], archive[self.label_key]
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(
                f'ArrayDataset: image_key={self.image_key!r} in {path} must be uint8 of shape (N, H, W, C) or '
                f'(N, H, W), not {images.dtype} of shape {images.shape}'
            )
        if labels.shape != (len(images),):
            raise ValueError(
                f'ArrayDataset: label_key={self.label_key!r} in {path} has shape {labels.shape} '
                f'for {len(images)} images'
            )
        images = images[..., None] if images.ndim == 3 else images
        return [{'img': image, 'gt_label': int(label)} for image, label in zip(images, labels)]
