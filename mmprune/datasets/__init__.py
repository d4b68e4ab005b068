"""Data sets that need no annotation files: arrays, digits and Fashion-MNIST as published."""

from mmprune.datasets.array import ArrayDataset
from mmprune.datasets.digits import Digits
from mmprune.datasets.fashion_mnist import FashionMNIST

__all__ = ['ArrayDataset', 'Digits', 'FashionMNIST']
