"""Everything that touches mmengine and PyTorch: checkpoints are read safely, and a pruned one cuts what loads it.

The loaders of all schemes (``torchvision://``, ``s3://``, local files, …) stay mmengine's own. Only the functions by
which they read a file and fill a network are replaced, so that what is no checkpoint of ours comes out as without us.
"""

from __future__ import annotations

import functools
import os
import pickle
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

import mmengine.runner
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import checkpoint as host
from torch import nn

from mmprune.checkpoint.config_text import is_only_values
from mmprune.checkpoint.places import pruned_state
from mmprune.checkpoint.reading import (
    SAFE_TYPES,
    TRUST,
    MapLocation,
    check_archive,
    check_contents,
    explained,
    is_trusted,
)
from mmprune.checkpoint.taking import part_of, prepared, records_in
from mmprune.errors import CheckpointError


def register_loaders() -> None:
    """Let mmengine read checkpoints safely, and whatever loads a pruned one take its structure; once is enough.

    Checkpoints of others are what they are without mmprune: the same loaders, arguments, results, warnings and errors.
    What differs for safety's sake is listed in ``docs/loading.md``.
    """
    _replace(host, '_safe_torch_load', _reading_safely)
    _replace(host, 'load_url', _reading_published_safely)
    _replace(host, 'load_state_dict', _taking_structures)
    _replace(mmengine.runner, 'load_state_dict', _taking_structures)
    _replace(nn.Module, 'load_state_dict', _taking_structures_by_hand)
    _replace(host, '_load_checkpoint_with_prefix', _handing_on_structures)
    _replace(host, '_process_mmcls_checkpoint', _handing_on_structures_of_backbones)
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
            return own(file, map_location, weights_only)
        with torch.serialization.safe_globals(SAFE_TYPES):
            try:
                content = torch.load(file, map_location=map_location, weights_only=True)
            except pickle.UnpicklingError as error:  # here mmengine would try again, and run what it meets
                raise CheckpointError(explained(_name(file), error)) from error
        return _checked(_without_code(content, file), file)

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
            return own(url, **given, weights_only=weights_only)
        with torch.serialization.safe_globals(SAFE_TYPES):
            try:
                content = own(url, **given, weights_only=True)
            except pickle.UnpicklingError as error:
                raise CheckpointError(explained(url, error)) from error
        folder = Path(model_dir or Path(torch.hub.get_dir()) / 'checkpoints')
        return _checked(_without_code(content, url), folder / (file_name or Path(urlparse(url).path).name))

    return read


def _taking_structures(own: Callable) -> Callable:
    """Around mmengine's ``load_state_dict``, which only warns about tensors that do not fit."""

    def load(module: nn.Module, state_dict: dict[str, torch.Tensor], strict: bool = False, logger: Any = None) -> None:
        inner: Any = module
        while is_model_wrapper(inner):
            inner = inner.module
        own(module, prepared(inner, pruned_state(state_dict)), strict, logger)

    return load


def _taking_structures_by_hand(own: Callable) -> Callable:
    """Around PyTorch's ``load_state_dict``, for networks that are loaded without mmengine."""

    def load_state_dict(
        self: nn.Module, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        return own(self, prepared(self, pruned_state(state_dict), complete=strict), strict, assign)

    return load_state_dict


def _handing_on_structures(own: Callable) -> Callable:
    """Around ``_load_checkpoint_with_prefix``, which hands on tensors of one part of a network."""

    def load_part(prefix: str, filename: str, map_location: MapLocation = None) -> Any:
        whole = host.CheckpointLoader.load_checkpoint(filename, map_location, None)
        state = pruned_state(whole)
        if records_in(state):
            part = part_of(state, f'{prefix.removesuffix(".")}.')
            if not part:
                raise CheckpointError(f'{filename}: has nothing under prefix={prefix!r}')
            return part
        # mmengine's own function, except that the file is read already
        given = {**vars(host), '_load_checkpoint': lambda *_, **__: whole, '__name__': __name__}
        return types.FunctionType(own.__code__, given, own.__name__)(prefix, filename, map_location)

    return load_part


def _handing_on_structures_of_backbones(own: Callable) -> Callable:
    """Around ``_process_mmcls_checkpoint``, by which ``mmcls://`` takes the backbone out of a network."""

    def process(checkpoint: dict) -> dict:
        state = pruned_state(checkpoint)
        return {'state_dict': part_of(state, 'backbone.')} if records_in(state) else own(checkpoint)

    return process


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


def _checked(content: Any, file: str | os.PathLike | IO[bytes]) -> Any:
    """The content; that of a pruned network is checked.

    Raises:
        CheckpointError: It is of a pruned network, and damaged.
    """
    if records_in(pruned_state(content)):
        try:
            check_archive(Path(file) if isinstance(file, (str, os.PathLike)) else file)
        except Exception as error:  # as in read_checkpoint
            raise CheckpointError(explained(_name(file), error)) from error
        check_contents(_name(file), content)
    return content
