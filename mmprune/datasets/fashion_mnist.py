"""Fashion-MNIST from the four files as they are published."""

from pathlib import Path

from mmpretrain.datasets import FashionMNIST as HostFashionMNIST
from mmpretrain.datasets.mnist import read_sn3_pascalvincent_tensor

from mmprune.registry import DATASETS


@DATASETS.register_module()
class FashionMNIST(HostFashionMNIST):
    """mmpretrain's Fashion-MNIST, reading the ``.gz`` files in place.

    The host's class wants all four files unpacked, writes to ``data_root`` or the network otherwise, and takes the
    images of ``test_mode`` instead of those of ``split``. This one needs only the two files of its split, packed or
    not, and never downloads. Every item has ``img``, a uint8 array of shape (28, 28, 1), and ``gt_label``.

    Example:
        >>> len(FashionMNIST('data/fashion_mnist', split='test'))
        10000
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        """Configure the data set.

        Args:
            data_root: Folder of ``train-images-idx3-ubyte.gz`` and its companions.
            split: 'train' or 'test'.
            **kwargs: As in mmpretrain's ``BaseDataset``: ``pipeline``, ``indices``, ``test_mode``, ….
        """
        if split not in ('train', 'test'):
            raise ValueError(f"FashionMNIST: split={split!r} is neither 'train' nor 'test'")
        super().__init__(data_root=data_root, split=split, download=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        """All items of the split, in file order."""
        files = self.train_list if self.split == 'train' else self.test_list
        images, labels = (read_sn3_pascalvincent_tensor(self._find(name), strict=True) for name, _ in files)
        images = images[..., None].numpy()
        return [{'img': image, 'gt_label': label} for image, label in zip(images, labels.tolist())]

    def _find(self, name: str) -> str:
        packed = Path(self.data_prefix['root']) / name
        for path in (packed, packed.with_suffix('')):
            if path.is_file():
                return str(path)
        raise FileNotFoundError(f'FashionMNIST: there is no file {packed}; set data_root of the dataset')
