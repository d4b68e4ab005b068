"""Reading checkpoints without executing anything that is in them."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging.history_buffer import HistoryBuffer

TRUST = 'MMPRUNE_TRUST_CHECKPOINTS'
#: How PyTorch's restricted unpickler says that it met something other than plain data.
REFUSED = re.compile(r'(?i)unsupported global|not allowed|can only (create|build)|call reduce')


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what would be right."""


def _history_method(owner: object, name: str) -> object:
    """What stands in for ``getattr`` while reading: HistoryBuffer pickles its four statistics by name."""
    if owner is not HistoryBuffer or name not in ('current', 'max', 'mean', 'min'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(owner, name)


_MULTIARRAY = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
_DTYPES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', 'b1', 'U1', 'S1')

#: mmengine's own bookkeeping in checkpoints of a Runner, and nothing else.
SAFE_TYPES = [HistoryBuffer, (_history_method, 'builtins.getattr'), slice, np.ndarray, np.dtype,
              _MULTIARRAY._reconstruct, _MULTIARRAY.scalar, *{type(np.dtype(kind)) for kind in _DTYPES}]


def is_trusted() -> bool:
    """Whether the user vouches for all checkpoints with an environment variable."""
    return os.environ.get(TRUST) == '1'


def read_checkpoint(path: str | os.PathLike, map_location: object = 'cpu') -> dict:
    """Read a checkpoint without executing anything in it.

    Args:
        path: A local file.
        map_location: As in ``torch.load``.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: Truncated, not a checkpoint, or needing code to be executed.
    """
    path = Path(os.path.expanduser(os.fspath(path)))
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    try:
        with torch.serialization.safe_globals(SAFE_TYPES):
            checkpoint = torch.load(path, map_location=map_location, weights_only=not is_trusted())
    except Exception as error:  # whatever bytes a file may hold, the unpickler has an exception for them
        raise CheckpointError(_explain(path, error)) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{path}: holds a {type(checkpoint).__name__}, expected a state dict or a checkpoint')
    return checkpoint


def _explain(path: Path, error: Exception) -> str:
    text = str(error).split('WeightsUnpickler error:')[-1].strip()
    if isinstance(error, pickle.UnpicklingError):
        for line in text.splitlines():
            if REFUSED.search(line):
                return (f'{path}: refused, because reading it could execute code ({line.strip():.160}). If you made '
                        f'this file yourself, set {TRUST}=1: anything in the file is then run with your rights')
    reason = text.splitlines()[0] if text else type(error).__name__
    return f'{path}: not a readable checkpoint, truncated or damaged ({reason:.160})'


def download(url: str, folder: str | os.PathLike | None = None) -> Path:
    """The local copy of a published checkpoint, fetched if it is not there yet.

    Args:
        url: Where it is published.
        folder: Where copies are kept. Defaults to the folder that mmengine uses.

    Raises:
        CheckpointError: It cannot be fetched.
    """
    folder = Path(folder or Path(torch.hub.get_dir()).parent / 'checkpoints')
    path = folder / Path(urlparse(url).path).name
    if is_main_process():
        _fetch(url, path)
    barrier()  # the other processes of this node find the file, those of other nodes fetch their own
    _fetch(url, path)
    return path


def _fetch(url: str, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path))  # renames when complete
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{url}: cannot be fetched ({error}); download it and give its path') from error
