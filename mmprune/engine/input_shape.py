"""The size of the images that a config's own test pipeline gives its network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

#: Where nothing in the config tells a size.
DEFAULT = (3, 224, 224)
LOADERS = ('test_dataloader', 'val_dataloader', 'train_dataloader')
#: Height and width of the images of data sets whose pipelines need not resize.
SIZES = {'CIFAR10': 32, 'CIFAR100': 32, 'MNIST': 28, 'FashionMNIST': 28, 'Digits': 32}


def input_shape_of(cfg: Config) -> tuple[tuple[int, int, int], str]:
    """Shape (C, H, W) of the images that the network of a config gets, and the key that tells it.

    What keeps the aspect ratio counts as the whole frame that it fits into: 1333×800 is a landscape of 800×1333,
    padded to multiples of the preprocessor's ``pad_size_divisor``.

    Args:
        cfg: With a ``pruning.input_shape``, which wins, or with data loaders.
    """
    explicit = (cfg.get('pruning') or {}).get('input_shape')
    if explicit is not None:
        return tuple(explicit), 'pruning.input_shape'
    preprocessor = _preprocessor(cfg)
    mean = preprocessor.get('mean')
    channels = len(mean) if isinstance(mean, (list, tuple)) else DEFAULT[0]
    for loader in LOADERS:
        dataset, key = _innermost(cfg.get(loader), f'{loader}.dataset')
        size = _pipeline_size(dataset.get('pipeline') or ())
        if size is not None:
            return (channels, *_divisible(size, preprocessor.get('pad_size_divisor'))), f'{key}.pipeline'
        name = str(dataset.get('type')).rpartition('.')[2]
        if name in SIZES:
            edge = dataset.get('size') or SIZES[name]
            return (channels, edge, edge), f'{key}.type'
    return (channels, *DEFAULT[1:]), ''


def _preprocessor(cfg: Config) -> Mapping:
    own = (cfg.get('model') or {}).get('data_preprocessor')
    return {**(cfg.get('data_preprocessor') or {}), **(own or {})}


def _innermost(loader: Mapping | None, key: str) -> tuple[Mapping, str]:
    """The data set inside all wrappers whose pipeline an image passes last, and its key."""
    dataset = (loader or {}).get('dataset') or {}
    while not dataset.get('pipeline'):
        if isinstance(dataset.get('dataset'), Mapping):
            dataset, key = dataset['dataset'], f'{key}.dataset'
        elif dataset.get('datasets'):
            dataset, key = dataset['datasets'][0], f'{key}.datasets[0]'
        else:
            break
    return dataset, key


def _pipeline_size(pipeline: Any) -> tuple[int, int] | None:
    """Height and width after the steps of a pipeline; None if no step decides them."""
    size = None
    for step in pipeline:
        name = str(step.get('type')).rpartition('.')[2]
        found = None
        if 'Resize' in name:
            found = _pair(step.get('scale') or step.get('img_scale'), landscape=bool(step.get('keep_ratio')))
        elif name.endswith('Crop'):
            found = _pair(step.get('crop_size'))
        elif name == 'Pad':
            found = _pair(step.get('size'))
            if found is None and size is not None and step.get('pad_to_square'):
                found = (max(size), max(size))
            elif found is None and size is not None:
                found = _divisible(size, step.get('size_divisor'))
        elif step.get('img_scale') or step.get('transforms'):  # wrappers of mm 2: a size, and steps
            inner = step.get('transforms') or ()
            found = _pair(step.get('img_scale')) or _pipeline_size(i for i in inner if isinstance(i, Mapping))
        size = found or size
    return size


def _pair(value: Any, landscape: bool = False) -> tuple[int, int] | None:
    """(height, width) of an edge, or of (width, height) as mmcv writes it."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], (list, tuple)):
        value = value[0]
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(edge, int) for edge in value):
        width, height = value
        return (min(value), max(value)) if landscape else (height, width)
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else None


def _divisible(size: tuple[int, int], divisor: Any) -> tuple[int, int]:
    if not isinstance(divisor, int) or divisor <= 1:
        return size
    height, width = (math.ceil(edge / divisor) * divisor for edge in size)
    return height, width
