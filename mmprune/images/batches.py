"""The images in whatever a user's loader gives as one batch: with labels, under names, or as mm's raw samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from mmprune.errors import ConfigError

#: Names that images go by in the batches of common libraries, the likeliest first.
NAMES = ('inputs', 'pixel_values', 'images', 'image', 'imgs', 'img', 'input', 'data', 'x')


def images_of(batch: object, like: Tensor | None = None, preprocessor: nn.Module | None = None) -> Tensor:
    """The tensor of a batch that a network takes.

    Args:
        batch: That tensor itself, or a tuple, list or dict that holds it beside labels and other things. Raw samples
            of mm data sets, ``dict(inputs=…, data_samples=…)``, go through the model's preprocessor.
        like: Example input of the network: the first tensor of its kind, axes and channels is taken. None: the first.
        preprocessor: The model's, if it has one.

    Raises:
        ConfigError: Nothing in the batch fits.
    """
    if isinstance(batch, Mapping) and preprocessor is not None and _is_raw(batch):
        with torch.no_grad():
            batch = preprocessor(dict(batch), training=False)['inputs']
    found = list(_tensors(batch))
    fitting = next((tensor for tensor in found if _fits(tensor, like)), None)
    if fitting is None:
        raise ConfigError(f'images: {_misfit(batch, found, like)}')
    return fitting


def _is_raw(batch: Mapping) -> bool:
    """Samples as mm's data sets give them: not stacked yet, in bytes, or with annotations beside them."""
    inputs = batch.get('inputs')
    is_raw = isinstance(inputs, (list, tuple)) or (isinstance(inputs, Tensor) and not inputs.is_floating_point())
    return is_raw or (inputs is not None and 'data_samples' in batch)


def _tensors(batch: object) -> Iterator[Tensor]:
    """All tensors with a batch axis, those under a likely name first; a list of images of one size as one batch."""
    if isinstance(batch, Tensor):
        yield from [batch] if batch.dim() else []
    elif isinstance(batch, Mapping):
        named = [name for name in NAMES if name in batch]
        for key in [*named, *(key for key in batch if key not in named)]:
            yield from _tensors(batch[key])
    elif isinstance(batch, list) and batch and all(isinstance(item, Tensor) and item.dim() == 3 for item in batch):
        yield from [torch.stack(batch)] if len({item.shape for item in batch}) == 1 else batch
    elif isinstance(batch, (list, tuple)):
        for item in batch:
            yield from _tensors(item)


def _fits(tensor: Tensor, like: Tensor | None) -> bool:
    if like is None:
        return True
    if tensor.is_floating_point() != like.is_floating_point() or tensor.dim() != like.dim():
        return False
    return like.dim() not in (2, 4) or not like.is_floating_point() or tensor.shape[1] == like.shape[1]


def _misfit(batch: object, found: list[Tensor], like: Tensor | None) -> str:
    wanted = 'batches of images (N, C, H, W)'
    if like is not None:
        shape = ', '.join(['N', *map(str, like.shape[1:])])
        wanted = f'batches like the example input: {str(like.dtype).removeprefix("torch.")} of shape ({shape})'
    if not found or like is None:
        return f'{wanted}, got {type(batch).__name__}'
    got = ', '.join(f'{str(t.dtype).removeprefix("torch.")} {tuple(t.shape)}' for t in found[:3])
    cure = ''
    if any(t.dim() == like.dim() and not t.is_floating_point() and like.is_floating_point() for t in found):
        cure = '; convert and normalise them as the network was trained'
    elif any(t.dim() == like.dim() - 1 and t.shape[0] == like.shape[1] for t in found if like.dim() > 1):
        cure = '; these are single images: give a DataLoader with a batch_size, or image[None]'
    return f'{wanted}, got {got}{cure}'
