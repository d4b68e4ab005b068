"""Files that a run read, by the hash of their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

#: Keys of a config that name files which decide a result.
KEYS = ('load_from', 'checkpoint', 'ann_file', 'structure')


def input_hashes(cfg: Config) -> dict[str, dict[str, str]]:
    """SHA-256 of every local file that the config names, by the key that names it: ``{key: {"path", "sha256"}}``."""
    hashes: dict[Path, str] = {}
    found = {}
    for key, path in _files(cfg, ''):
        if path not in hashes:
            with path.open('rb') as file:
                hashes[path] = hashlib.file_digest(file, 'sha256').hexdigest()
        found[key] = {'path': str(path), 'sha256': hashes[path]}
    return found


def _files(node: object, key: str) -> Iterator[tuple[str, Path]]:
    if isinstance(node, (Config, dict)):
        root = node.get('data_root') or ''
        for name, value in node.items():
            inner = f'{key}.{name}' if key else str(name)
            if name in KEYS and isinstance(value, str) and value:
                for path in (Path(value), Path(str(root), value)):
                    if path.is_file():
                        yield inner, path
                        break
            else:
                yield from _files(value, inner)
    elif isinstance(node, (list, tuple)):
        for number, value in enumerate(node):
            yield from _files(value, f'{key}[{number}]')
