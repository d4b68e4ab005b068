"""Cache of results on disk, keyed by the content that they were computed from, never by a name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from mmprune.storage.files import write_atomically

#: Change this when the same content would give another result.
VERSION = 1
#: What a result is computed from: tensors and plain values, nested.
Content: TypeAlias = 'Tensor | Mapping[str, Content] | Sequence[Content] | str | float | None'


def default_folder() -> Path:
    """``$MMPRUNE_CACHE``, or ``mmprune`` in the user's cache folder."""
    own = os.environ.get('MMPRUNE_CACHE')
    return Path(own) if own else Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmprune'


def content_key(*content: Content) -> str:
    """SHA-256 of nested tensors and plain values, in hexadecimal; equal only for equal bits, shapes and types."""
    digest = hashlib.sha256()
    for piece in _pieces((VERSION, content)):
        digest.update(len(piece).to_bytes(8, 'little'))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Content) -> Iterator[bytes | memoryview]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        yield f'{value.dtype} {tuple(value.shape)}'.encode()
        yield value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b''
    elif isinstance(value, dict):
        yield f'dict {len(value)}'.encode()
        for key, item in value.items():
            yield from _pieces(key)
            yield from _pieces(item)
    elif isinstance(value, (list, tuple)):
        yield f'list {len(value)}'.encode()
        for item in value:
            yield from _pieces(item)
    else:
        yield f'{type(value).__name__} {value!r}'.encode()


class DiskCache:
    """A folder with one small JSON file per key."""

    def __init__(self, folder: str | os.PathLike | None) -> None:
        """A cache in a folder.

        Args:
            folder: Where the files are; made when the first one is written. None: nothing is kept.
        """
        self.folder = None if folder is None else Path(folder)

    def get(self, key: str) -> dict | None:
        """Value stored under the key, or None; a damaged file counts as none."""
        try:
            value = json.loads((self.folder / f'{key}.json').read_text()) if self.folder else None
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def put(self, key: str, value: dict) -> None:
        """Store plain data under the key; a folder that cannot be written is no reason to lose a result."""
        if self.folder is None:
            return
        try:
            write_atomically(self.folder / f'{key}.json', json.dumps(value))
        except OSError:
            self.folder = None
