"""Tiny ImageNet as it is unzipped."""

from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from mmprune.registry import DATASETS

SUFFIXES = ('.jpeg', '.jpg', '.png')


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny ImageNet (200 classes of 64×64 pixels), its validation images in one folder or sorted into class folders.

    Classes are numbered in the order of the names of the folders of ``train``. Every item has ``img_path`` and
    ``gt_label``.

    Example:
        >>> len(TinyImageNet('data/tiny-imagenet-200', split='val'))
        10000
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs: Any) -> None:
        """Configure the data set.

        Args:
            data_root: The folder ``tiny-imagenet-200`` of the archive.
            split: 'train' or 'val'; the labels of the test images are not published.
            **kwargs: As in mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``, ``test_mode``, ….
        """
        if split not in ('train', 'val'):
            raise ValueError(f"split={split!r} is neither 'train' nor 'val'")
        self.split = split
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """All items of the split, sorted."""
        root = Path(self.data_root)
        names = sorted(path.name for path in (root / 'train').glob('*/'))
        if len(names) < 2:
            raise FileNotFoundError(
                f'TinyImageNet: no class folders in {root / "train"}; set data_root to the unzipped tiny-imagenet-200'
            )
        self._metainfo.setdefault('classes', tuple(names))
        label = {name: index for index, name in enumerate(names)}
        listed = root / 'val' / 'val_annotations.txt'
        if self.split == 'val' and (root / 'val' / 'images').is_dir():
            pairs = [line.split()[:2] for line in listed.read_text().splitlines() if line.strip()]
            items = [(root / 'val' / 'images' / name, folder) for name, folder in pairs]
        else:
            files = sorted((root / self.split).glob('*/**/*'))
            items = [
                (path, path.relative_to(root / self.split).parts[0])
                for path in files
                if path.suffix.lower() in SUFFIXES
            ]
        unknown = {folder for _, folder in items} - label.keys()
        if unknown or not items:
            raise FileNotFoundError(
                f'TinyImageNet: {root / self.split} holds '
                + (f'the class {min(unknown)!r}, which train has not' if unknown else 'no images')
            )
        return [{'img_path': str(path), 'gt_label': label[folder]} for path, folder in items]
