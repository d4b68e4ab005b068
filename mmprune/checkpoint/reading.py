"""Reading checkpoints without executing anything that is in them."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader

from mmprune.errors import CheckpointError

#: Where ``torch.load`` puts tensors.
MapLocation = str | torch.device | dict[str, str] | Callable | None

TRUST = 'MMPRUNE_TRUST_CHECKPOINTS'
#: How PyTorch's restricted unpickler says that it met something other than plain data.
REFUSED = re.compile(r'(?i)unsupported global|not allowed|can only (create|build)|call reduce')


class _OneCycle:
    """Stand-in for the schedule's class while reading, where it is only named to find its curves."""

    _annealing_cos = staticmethod(OneCycleParamScheduler._annealing_cos)
    _annealing_linear = staticmethod(OneCycleParamScheduler._annealing_linear)


#: Methods that mmengine pickles by name: statistics of a history, curves of a learning rate that rises and falls.
METHODS = {HistoryBuffer: ('current', 'max', 'mean', 'min'), _OneCycle: ('_annealing_cos', '_annealing_linear')}


def _named_method(owner: Any, name: Any) -> Callable:
    """Stand-in for ``getattr`` while reading."""
    if not isinstance(owner, type) or name not in METHODS.get(owner, ()):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed in a checkpoint')
    return getattr(owner, name)


_MULTIARRAY = import_module(f'numpy.{"_core" if hasattr(np, "_core") else "core"}.multiarray')
_DTYPES = ('f8', 'f4', 'f2', 'i8', 'i4', 'i2', 'i1', 'u8', 'u4', 'u2', 'u1', 'b1', 'U1', 'S1')

#: mmengine's own bookkeeping in checkpoints of a Runner, and nothing else.
SAFE_TYPES = [
    HistoryBuffer,
    (_OneCycle, 'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler'),
    (_named_method, 'builtins.getattr'),
    slice,
    np.ndarray,
    np.dtype,
    _MULTIARRAY._reconstruct,
    _MULTIARRAY.scalar,
    *{type(np.dtype(kind)) for kind in _DTYPES},
]


def is_trusted() -> bool:
    """True if the user vouches for all checkpoints with an environment variable."""
    return os.environ.get(TRUST) == '1'


def is_address(path: object) -> bool:
    """True for what mmengine fetches, or finds in its caches: ``https://…``, ``torchvision://…``, ``mmcls://…``."""
    return isinstance(path, str) and '://' in path


def read_checkpoint(path: str | os.PathLike | IO[bytes], map_location: MapLocation = 'cpu') -> dict:
    """Read a checkpoint without executing anything in it.

    Args:
        path: A local file, one that was opened for reading bytes, or an address of any scheme that mmengine knows.
        map_location: As in ``torch.load``.

    Returns:
        A state dict, or a dict with one under ``'state_dict'``.

    Raises:
        FileNotFoundError: There is no such file, or the address is out of reach.
        CheckpointError: Truncated, changed since it was written, not a checkpoint, or needing code to be executed.
    """
    if is_address(path):
        checkpoint = _fetched(str(path), map_location)
        check_contents(str(path), checkpoint)
        return checkpoint
    name: str | Path = 'checkpoint'
    if isinstance(path, (str, os.PathLike)):
        name = path = Path(os.path.expanduser(os.fspath(path)))
        if not path.is_file():
            raise FileNotFoundError(f'{path}: no such checkpoint')
    if is_trusted():
        warnings.warn(f'{TRUST}=1: whatever code is in {name} is run with your rights', stacklevel=2)
    try:
        if not is_trusted():
            check_archive(path)
        with torch.serialization.safe_globals(SAFE_TYPES):
            checkpoint = torch.load(path, map_location=map_location, weights_only=not is_trusted())
    except Exception as error:  # whatever bytes a file may hold, the unpickler has an exception for them
        raise CheckpointError(explained(name, error)) from error
    check_contents(name, checkpoint)
    return checkpoint


def _fetched(address: str, map_location: MapLocation) -> dict:
    """The contents of a file by mmengine's loader of the scheme; ``register_loaders`` lets all of them read safely."""
    try:
        return CheckpointLoader.load_checkpoint(address, map_location, logger='silent')
    except KeyError as error:
        raise CheckpointError(f'{address}: there is no published checkpoint of this name') from error
    except OSError as error:
        raise FileNotFoundError(out_of_reach(address, error)) from error


def out_of_reach(address: str, error: OSError) -> str:
    """One line on an address that could not be fetched, and what helps."""
    cache = Path(torch.hub.get_dir()) / 'checkpoints'
    return (
        f'{address}: neither in {cache} nor to be fetched ({" ".join(str(error).split()):.160}); fetch the file '
        'elsewhere and put it there, or name its path'
    )


def check_archive(file: Path | IO[bytes]) -> None:
    """Refuse archives that PyTorch did not write like this: it checks no checksums, and inflates whatever it is told.

    Args:
        file: Rewound afterwards if it is an open one.

    Raises:
        ValueError: A record does not match its checksum, or is compressed.
    """
    try:
        if zipfile.is_zipfile(file):  # else the format before PyTorch 1.6, or no checkpoint at all
            with zipfile.ZipFile(file) as archive:
                _check_records(archive)
    finally:
        if not isinstance(file, Path):
            file.seek(0)


def _check_records(archive: zipfile.ZipFile) -> None:
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError(
            'its records are compressed, which PyTorch never does; unpack and zip it without '
            'compression if you trust it'
        )
    if damaged := archive.testzip():
        raise ValueError(f'{damaged} does not match its checksum')


def check_contents(name: str | os.PathLike, checkpoint: dict) -> None:
    """Refuse checkpoints with contents that would surprise those who use them.

    Args:
        name: What the error calls the checkpoint.
        checkpoint: As it was read; attributes that could hide the methods of its dicts are removed.

    Raises:
        CheckpointError: A part is of the wrong kind, say no dict.
    """
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f'{name}: holds a {type(checkpoint).__name__}, expected a state dict or a checkpoint')
    for holder in (checkpoint, dict.get(checkpoint, 'state_dict'), dict.get(checkpoint, 'ema_state_dict')):
        for attribute in set(getattr(holder, '__dict__', ())) - {'_metadata'}:
            delattr(holder, attribute)
    if problem := _odd_contents(checkpoint):
        raise CheckpointError(f'{name}: not a usable checkpoint: {problem}')


def _odd_contents(checkpoint: dict) -> str:
    """The first of the contents that is of the wrong kind; empty if none is."""
    for key in ('meta', 'message_hub', 'state_dict', 'ema_state_dict'):
        if not isinstance(checkpoint.get(key, {}), Mapping) and (key == 'state_dict' or checkpoint[key] is not None):
            return f'{key!r} must be a dict, got {type(checkpoint[key]).__name__}'
    for holder in (checkpoint, checkpoint.get('state_dict'), checkpoint.get('ema_state_dict')):
        metadata = getattr(holder, '_metadata', None)
        if metadata is not None and not (
            isinstance(metadata, Mapping)
            and all(isinstance(key, str) and isinstance(entry, Mapping) for key, entry in metadata.items())
        ):
            return 'the metadata beside the tensors must map names of modules to dicts'
        for key, value in (holder or {}).items():
            if isinstance(value, torch.Tensor) and (value.layout != torch.strided or value.is_meta):
                return f'{key} must be an ordinary tensor, got a {value.layout} one on {value.device}'
    odd = [key for key in checkpoint.get('state_dict', ()) if not isinstance(key, str)]
    return f"keys of 'state_dict' must be names, got {odd[0]!r:.40}" if odd else ''


def explained(path: str | os.PathLike, error: Exception) -> str:
    """One line on why a file could not be read.

    Args:
        path: The file, or what the line calls it.
        error: What reading it raised.
    """
    text = str(error).split('WeightsUnpickler error:')[-1].strip()
    if isinstance(error, pickle.UnpicklingError):
        for line in text.splitlines():
            if REFUSED.search(line):
                return (
                    f'{path}: refused, because reading it could execute code ({line.strip():.160}). If you made '
                    f'this file yourself, set {TRUST}=1: anything in the file is then run with your rights'
                )
    reason = text.splitlines()[0] if text else type(error).__name__
    return f'{path}: not a readable checkpoint, truncated or damaged ({reason:.160})'
