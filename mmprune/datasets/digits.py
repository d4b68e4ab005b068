"""Scikit-learn's handwritten digits as a data set that needs no file and no network."""

import numpy as np
from mmcv import imresize
from mmpretrain.datasets import BaseDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mmprune.registry import DATASETS


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 digits of scikit-learn, 8×8 grey levels enlarged bilinearly, in a fixed stratified split.

    Every item has ``img``, a uint8 array of shape (size, size, channels) in 0 … 255, and ``gt_label``.

    Example:
        >>> len(Digits('train')), len(Digits('test'))
        (1437, 360)
    """

    METAINFO = {'classes': tuple(str(digit) for digit in range(10))}

    def __init__(
        self, split: str = 'train', size: int = 32, channels: int = 3, test_ratio: float = 0.2, seed: int = 0, **kwargs
    ) -> None:
        """Configure the data set.

        Args:
            split: 'train' or 'test'.
            size: Height and width of the images.
            channels: 3 (the grey level three times) or 1.
            test_ratio: Share of the images that is the test split.
            seed: Seed of the split.
            **kwargs: As in mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``, ``test_mode``, ….
        """
        if split not in ('train', 'test'):
            raise ValueError(f"Digits: split={split!r} is neither 'train' nor 'test'")
        if channels not in (1, 3):
            raise ValueError(f'Digits: channels={channels} is neither 1 nor 3')
        self.split, self.size, self.channels = split, size, channels
        self.test_ratio, self.seed = test_ratio, seed
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Items of the split, in the order of scikit-learn's table."""
        images, labels = load_digits(return_X_y=True)
        images = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        train, test = train_test_split(
            np.arange(len(labels)), test_size=self.test_ratio, random_state=self.seed, stratify=labels
        )
        chosen = np.sort(train if self.split == 'train' else test)
        return [{'img': self._enlarge(images[index]), 'gt_label': int(labels[index])} for index in chosen]

    def _enlarge(self, image: np.ndarray) -> np.ndarray:
        image = imresize(image, (self.size, self.size), interpolation='bilinear', backend='cv2')
        return np.repeat(image[..., None], self.channels, axis=2)
