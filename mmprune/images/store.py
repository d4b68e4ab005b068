"""Sets of synthetic images on disk."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmprune.images.source import ImageSource
from mmprune.storage.files import write_atomically

SCHEMA_VERSION = 1
#: A set that claims more images than this is damaged.
MOST_IMAGES = 10_000_000


class ImageStore(ImageSource):
    """Batches of normalised images (N, C, H, W), float32, in a folder that is named after what decides the images.

    Every batch is an uncompressed ``.npy`` file, read by memory map, and a ``.json`` beside it with its checksum and
    what is known about it; ``meta.json`` says in plain words what the set is. Each file is written under another name
    and renamed, so a run that is killed leaves whole batches only. A store stands wherever images are wanted
    (``images=`` of :func:`mmprune.prune`).

    Attributes:
        folder: Where the files are.
        meta: The contents of ``meta.json``.
        num_images: Images in all; the last batch may be smaller.
        batch_size: Images per batch.
        shape: (C, H, W).
        num_classes: Image ``i`` shows class ``i % num_classes``; None: the images have no labels.

    Example:
        >>> store = synthesizer.prepare(scope, 'work_dirs/run')
        >>> len(store), store.num_images, tuple(next(iter(store)).shape), tuple(store.image(7).shape)
        (50, 12800, (256, 3, 32, 32), (3, 32, 32))
    """

    num_images: int

    def __init__(self, folder: str | Path, device: str | torch.device = 'cpu') -> None:
        """Open what :meth:`create` made.

        Args:
            folder: The set's own folder.
            device: Where iteration puts the batches.

        Raises:
            ValueError: The folder holds no such set.
        """
        self.folder, self.device = Path(folder), torch.device(device)
        self.meta = _read_json(self.folder / 'meta.json')
        if self.meta is None or self.meta.get('schema_version') != SCHEMA_VERSION or not _is_whole(self.meta):
            raise ValueError(
                f'{self.folder}: not a set of synthetic images (its meta.json is missing, damaged or of '
                'another version)'
            )
        self.num_images, self.batch_size = self.meta['num_images'], self.meta['batch_size']
        self.shape, self.num_classes = tuple(self.meta['shape']), self.meta.get('num_classes')
        self._maps: dict[int, np.ndarray] = {}

    @classmethod
    def create(cls, root: str | Path, content: str, about: dict) -> ImageStore:
        """Open the set of that content below ``root``, or start it.

        Args:
            root: Folder of all sets.
            content: Hash of everything that decides the images.
            about: Plain data for ``meta.json``; at least ``num_images``, ``batch_size`` and ``shape``.
        """
        folder = Path(root) / content[:32]
        meta = json.loads(json.dumps({'schema_version': SCHEMA_VERSION, 'content': content, **about}))
        if _read_json(folder / 'meta.json') != meta:
            write_atomically(folder / 'meta.json', json.dumps(meta, indent=1) + '\n')
        return cls(folder)

    def __len__(self) -> int:
        return -(-self.num_images // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for index in range(len(self)):
            yield torch.from_numpy(np.array(self._batch(index))).to(self.device)

    def image(self, index: int) -> Tensor:
        """One image (C, H, W) on the CPU."""
        index = self._check_index(index)
        return torch.from_numpy(np.array(self._batch(index // self.batch_size)[index % self.batch_size]))

    def label(self, index: int) -> int | None:
        """The class that an image was made to show."""
        index = self._check_index(index)
        return None if self.num_classes is None else index % self.num_classes

    def facts(self, index: int) -> dict:
        """Known facts about a batch, e.g. the terms of its loss."""
        return _read_json(self._path(index).with_suffix('.json')) or {}

    @property
    def origin(self) -> str:
        """Kind of the images and their maker, as reports name them."""
        maker = str(self.meta.get('what', '')).partition(':')[0]
        return f'synthetic images{f" ({maker})" if maker else ""}, no data'

    @property
    def seconds(self) -> float:
        """Seconds that making the images took, whichever run made them; 0 where nobody took the time."""
        return sum(self.facts(index).get('seconds', 0.0) for index in range(len(self)))

    def to(self, device: str | torch.device) -> ImageStore:
        """The same set with batches on another device."""
        other = copy(self)
        other.device = torch.device(device)
        return other

    @property
    def complete(self) -> bool:
        """True if every batch is there and undamaged."""
        return not self.missing()

    def missing(self) -> list[int]:
        """Numbers of the batches that are absent or damaged."""
        there = {path.name for path in self.folder.glob('batch_*.npy')}  # not one look per batch that is claimed
        return [index for index in range(len(self)) if _name(index) not in there or self._problem(index)]

    def check(self) -> None:
        """Refuse a set with absent or damaged batches.

        Raises:
            ValueError: Names the first of them, and the cure.
        """
        for index in range(len(self)):
            self._batch(index)

    def write(self, index: int, images: Tensor, **facts: object) -> None:
        """Put a batch on disk.

        Args:
            index: Its number.
            images: (N, C, H, W).
            facts: Plain data to keep beside it.
        """
        if tuple(images.shape) != (self._stored(index), *self.shape):
            raise ValueError(
                f'batch {index} has shape {tuple(images.shape)}, this set wants {(self._stored(index), *self.shape)}'
            )
        self._maps.pop(index, None)
        buffer = io.BytesIO()
        np.save(buffer, images.detach().cpu().float().contiguous().numpy())
        write_atomically(self._path(index), buffer.getbuffer())
        checksum = hashlib.sha256(buffer.getbuffer()).hexdigest()
        write_atomically(
            self._path(index).with_suffix('.json'), json.dumps({'sha256': checksum, **facts}, indent=1) + '\n'
        )

    def _path(self, index: int) -> Path:
        return self.folder / _name(index)

    def _stored(self, index: int) -> int:
        return min(self.batch_size, self.num_images - index * self.batch_size)

    def _check_index(self, index: int) -> int:
        if not 0 <= index < self.num_images:
            raise IndexError(f'image {index} of a set of {self.num_images}')
        return int(index)

    def _batch(self, index: int) -> np.ndarray:
        problem = self._problem(index)
        if problem:
            raise ValueError(
                f'{self._path(index)} {problem}; run the synthesis again, which makes only what is missing'
            )
        return self._maps[index]

    def _problem(self, index: int) -> str:
        """The reason why a batch cannot be used; empty, and the batch mapped, when it can. Checked once."""
        if index in self._maps:
            return ''
        path, facts = self._path(index), self.facts(index)
        if not path.exists() or not facts:
            return 'has not been made yet'
        try:
            array = np.load(path, mmap_mode='r', allow_pickle=False)
            with path.open('rb') as file:
                checksum = hashlib.file_digest(file, 'sha256').hexdigest()
        except (OSError, ValueError, EOFError) as error:
            return f'cannot be read ({error})'
        if checksum != facts.get('sha256'):
            return 'is damaged: its checksum is not the one noted when it was written'
        if array.dtype != np.float32 or array.shape != (self._stored(index), *self.shape):
            return f'holds {array.dtype} of shape {array.shape}, which is not of this set'
        self._maps[index] = array
        return ''

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_maps': {}}  # worker processes map the files themselves

    def __repr__(self) -> str:
        return f'ImageStore({self.num_images} images of shape {self.shape} in {self.folder})'


def _name(index: int) -> str:
    return f'batch_{index:05d}.npy'


def _is_whole(meta: dict) -> bool:
    numbers = [
        meta.get('num_images'),
        meta.get('batch_size'),
        *([meta['num_classes']] if meta.get('num_classes') else []),
    ]
    shape = meta.get('shape')
    return (
        isinstance(shape, list)
        and len(shape) == 3
        and all(type(n) is int and n > 0 for n in (*numbers, *shape))
        and meta['num_images'] <= MOST_IMAGES
    )


def _read_json(path: Path) -> dict | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
