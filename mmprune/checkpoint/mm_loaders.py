"""Everything that touches mmengine: it reads checkpoints safely, and never loads a pruned one halfway.

The loaders of all schemes (``torchvision://``, ``s3://``, local files, …) stay mmengine's own. Only the two functions
by which they read a file are replaced, so that what is no checkpoint of ours comes out as mmengine itself gives it.
"""

from __future__ import annotations

import functools
import os
import pickle
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.logging import print_log
from mmengine.runner import checkpoint as host
from torch import nn

from mmprune.checkpoint.config_text import is_only_values
from mmprune.checkpoint.reading import (
    SAFE_TYPES,
    TRUST,
    MapLocation,
    check_archive,
    check_contents,
    explained,
    is_trusted,
)
from mmprune.checkpoint.state import KEY
from mmprune.errors import CheckpointError

HOW_TO_LOAD = (
    "build the model with model=dict(type='mmprune.Pruned', host=<the model's type>, …), as in the config "
    'beside the checkpoint, or use mmprune.load(model, path)'
)


def register_loaders() -> None:
    """Let mmengine's loaders of checkpoints read safely, and guard pruned checkpoints; once is enough.

    Checkpoints of others are what they are without mmprune: the same loaders, arguments, results, warnings and errors.
    What differs for safety's sake is listed in ``docs/loading.md``.
    """
    _replace(host, '_safe_torch_load', _reading_safely)
    _replace(host, 'load_url', _reading_published_safely)
    _replace(host, 'load_state_dict', _refusing_unread_structures)
    _replace(host, '_load_checkpoint_with_prefix', _refusing_parts)
    _replace(host, '_process_mmcls_checkpoint', _refusing_backbones)
    _replace(BaseInferencer, '_init_model', _refusing_configs_inside)


def _replace(owner: types.ModuleType | type, name: str, around: Callable[[Any], Callable]) -> None:
    own = getattr(owner, name)
    if getattr(own, '__module__', '') != __name__:
        new = around(own)
        functools.update_wrapper(new, own, assigned=('__doc__',), updated=())
        setattr(owner, name, new)


def _reading_safely(own: Callable) -> Callable:
    """Around ``_safe_torch_load``, which falls back to running whatever code is in a file."""

    def read(
        file: str | os.PathLike | IO[bytes], map_location: MapLocation = None, weights_only: bool | None = None
    ) -> Any:
        if is_trusted():
            _warn_of_trust(file)
            return _guarded(own(file, map_location, weights_only))
        with torch.serialization.safe_globals(SAFE_TYPES):
            try:
                content = torch.load(file, map_location=map_location, weights_only=True)
            except pickle.UnpicklingError as error:  # here mmengine would try again, and run what it meets
                raise CheckpointError(explained(_name(file), error)) from error
        return _guarded(_without_code(content, file), file)

    return read


def _reading_published_safely(own: Callable) -> Callable:
    """Around ``torch.hub.load_state_dict_from_url``, which fetches a file and runs whatever code is in it."""

    def read(
        url: str,
        model_dir: str | None = None,
        map_location: MapLocation = None,
        progress: bool = True,
        check_hash: bool = False,
        file_name: str | None = None,
        weights_only: bool = False,
    ) -> Any:
        given = dict(
            model_dir=model_dir,
            map_location=map_location,
            progress=progress,
            check_hash=check_hash,
            file_name=file_name,
        )
        if is_trusted():
            _warn_of_trust(url)
            return _guarded(own(url, **given, weights_only=weights_only))
        with torch.serialization.safe_globals(SAFE_TYPES):
            try:
                content = own(url, **given, weights_only=True)
            except pickle.UnpicklingError as error:
                raise CheckpointError(explained(url, error)) from error
        folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
        return _guarded(_without_code(content, url), folder / (file_name or Path(urlparse(url).path).name))

    return read


def _refusing_unread_structures(own: Callable) -> Callable:
    """Around ``load_state_dict``, which warns where keys were renamed so that no module asks for its structure."""

    def load(module: nn.Module, state_dict: dict[str, torch.Tensor], strict: bool = False, logger: Any = None) -> None:
        own(module, state_dict, strict, logger)
        metadata = getattr(state_dict, '_metadata', None)
        if isinstance(metadata, _GuardedMetadata):
            metadata.refuse_unread()

    return load


def _refusing_parts(own: types.FunctionType) -> Callable:
    """Around ``_load_checkpoint_with_prefix``, which hands on tensors of one part of a network and no structure."""

    def load_whole(filename: str, map_location: MapLocation = None) -> Any:
        return _whole(host.CheckpointLoader.load_checkpoint(filename, map_location, None), filename)

    # mmengine's own function, except that what it reads must be whole
    return types.FunctionType(
        own.__code__,
        {**vars(host), '_load_checkpoint': load_whole, '__name__': __name__},
        own.__name__,
        own.__defaults__,
    )


def _refusing_backbones(own: Callable) -> Callable:
    """Around ``_process_mmcls_checkpoint``, by which ``mmcls://`` takes the backbone out of a network."""

    def process(checkpoint: dict) -> dict:
        return own(_whole(checkpoint, 'mmcls://'))

    return process


def _whole(checkpoint: Any, name: str) -> Any:
    if _pruned_holders(checkpoint):
        raise CheckpointError(
            f'{name}: this checkpoint is of a pruned network, of which no part alone (init_cfg with a prefix) can be '
            f'loaded: load all of it; {HOW_TO_LOAD}'
        )
    return checkpoint


def _refusing_configs_inside(own: Callable) -> Callable:
    """Around ``BaseInferencer._init_model``, which executes the config inside a checkpoint if none was given."""

    def init_model(
        self: BaseInferencer, cfg: Config, weights: str | None, device: str | torch.device = 'cpu'
    ) -> nn.Module:
        if not cfg and not is_trusted():
            raise CheckpointError(
                f'{weights}: refused, because without a config the inferencer would execute the one inside the '
                f'checkpoint: give the config file, too (model=…). If you made this file yourself, set {TRUST}=1'
            )
        return own(self, cfg, weights, device)

    return init_model


def _name(file: str | os.PathLike | IO[bytes]) -> str:
    return os.fspath(file) if isinstance(file, (str, os.PathLike)) else 'checkpoint'


def _warn_of_trust(file: str | os.PathLike | IO[bytes]) -> None:
    warnings.warn(f'{TRUST}=1: whatever code is in {_name(file)} is run with your rights', stacklevel=3)


def _without_code(content: Any, file: str | os.PathLike | IO[bytes]) -> Any:
    """Take out the config that mmengine executes when it resumes, if executing it could do anything."""
    meta = dict.get(content, 'meta') if isinstance(content, dict) else None
    config = dict.get(meta, 'config') if isinstance(meta, dict) else None
    if isinstance(meta, dict) and isinstance(config, str) and not is_only_values(config):
        dict.pop(meta, 'config')
        print_log(
            f"{_name(file)}: meta['config'] is left out, because mmengine would execute it on resuming, and it is "
            f'more than names and values. If you made this file yourself, set {TRUST}=1',
            'current',
            30,
        )
    return content


def _guarded(content: Any, file: str | os.PathLike | IO[bytes] | None = None) -> Any:
    """The content; that of a pruned network checked, and guarded against models that ignore its structure.

    Args:
        content: Whatever was read.
        file: Where it was read from; None leaves the bytes unchecked.

    Raises:
        CheckpointError: It is of a pruned network, and damaged.
    """
    holders, name = _pruned_holders(content), 'checkpoint' if file is None else _name(file)
    if holders:
        try:
            if file is not None:
                check_archive(Path(file) if isinstance(file, (str, os.PathLike)) else file)
        except Exception as error:  # as in read_checkpoint
            raise CheckpointError(explained(name, error)) from error
        check_contents(name, content)
    for holder in holders:
        holder._metadata = _GuardedMetadata(holder._metadata)
    return content


def _pruned_holders(content: Any) -> list[Any]:
    """The state dicts in a checkpoint beside which there is a structure of ours."""
    if not isinstance(content, dict):
        return []
    found = []
    for holder in (content, dict.get(content, 'state_dict'), dict.get(content, 'ema_state_dict')):
        metadata = getattr(holder, '_metadata', None) if isinstance(holder, dict) else None
        if isinstance(metadata, dict) and any(isinstance(item, dict) and KEY in item for item in metadata.values()):
            found.append(holder)
    return found


class _GuardedMetadata(OrderedDict):
    """State-dict metadata that raises when a model reads past a structure without having understood it.

    mmengine's ``load_checkpoint`` only warns about wrong shapes. Loaders ask for the metadata of a module before that
    of its children, and first for that of the whole network (the prefix ''); a module that was made loadable says in
    between that it took the structure.
    """

    def __init__(self, metadata: Mapping[str, dict]) -> None:
        super().__init__(metadata)
        self.ignored = self._structures()

    def _structures(self) -> set[str]:
        return {prefix for prefix, entry in self.items() if KEY in entry}

    def __reduce__(self) -> tuple:
        return OrderedDict, ([(prefix, dict(entry)) for prefix, entry in self.items()],)  # saved as PyTorch's own

    def __deepcopy__(self, memo: dict) -> _GuardedMetadata:
        return _GuardedMetadata({prefix: dict(entry) for prefix, entry in self.items()})

    def get(self, key: str, default: Any = None) -> Any:  # noqa: D102 - as dict.get
        value = super().get(key, default)
        if not key:
            self.ignored = self._structures()  # another model begins to load
        if key in self.ignored:
            return {**value, f'{KEY}_guard': lambda: self.ignored.discard(key)}
        if any(not prefix or key.startswith(f'{prefix}.') for prefix in self.ignored):
            self.refuse_unread()
        return value

    def refuse_unread(self) -> None:
        """Raise if a structure was not taken yet."""
        if self.ignored:
            raise CheckpointError(
                f'this checkpoint is of a pruned network, and this model cannot take its structure: {HOW_TO_LOAD}'
            )
