"""Data sets that need no annotation files: arrays, digits, Fashion-MNIST as published, and synthetic images."""

from mmprune.datasets.array import ArrayDataset
from mmprune.datasets.digits import Digits
from mmprune.datasets.fashion_mnist import FashionMNIST
from mmprune.datasets.random_subset import RandomSubset
from mmprune.datasets.synthetic import SyntheticImages
from mmprune.datasets.tiny_imagenet import TinyImageNet

__all__ = ['ArrayDataset', 'Digits', 'FashionMNIST', 'RandomSubset', 'SyntheticImages', 'TinyImageNet']
