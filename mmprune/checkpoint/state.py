"""Saving and loading networks, pruned or not, and what dense checkpoints must be for those that are strict.

A pruned model's ``state_dict()`` carries its :class:`Structure` in the metadata that PyTorch itself keeps beside the
tensors (``state_dict._metadata``), so every way of saving keeps it, and every way of loading hands it to the model.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from mmprune.checkpoint.places import weights_for, why_not
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.checkpoint.record import structure_of
from mmprune.checkpoint.taking import check_shapes, prepared, refuse_leftovers
from mmprune.errors import CheckpointError
from mmprune.storage.files import write_atomically

OTHER = 'the checkpoint is of another network (to load what fits, set model.strict=False)'


def make_strict(model: nn.Module) -> None:
    """Let a model refuse dense checkpoints that do not fit completely; it always refuses such pruned ones.

    Args:
        model: Any module; loading hooks are added to it, nothing else changes.
    """
    if getattr(model, '_mmprune_strict', False):
        return
    model._mmprune_strict, model._mmprune_must_fit = True, None
    model.register_load_state_dict_pre_hook(_check_dense)
    model.register_load_state_dict_post_hook(_refuse_leftovers)


def _check_dense(model: nn.Module, state: dict, prefix: str, *_: object) -> None:
    """Behind the structure, which a pruned network has taken and was checked against by now."""
    model._mmprune_must_fit = prefix if structure_of(model) is None else None
    if model._mmprune_must_fit is not None:
        check_shapes(model, state, OTHER, prefix)


def _refuse_leftovers(model: nn.Module, incompatible: _IncompatibleKeys) -> None:
    """Buffers that old checkpoints lack, and entries beside the network (an ``ema_…`` copy), are the host's affair."""
    prefix, model._mmprune_must_fit = model._mmprune_must_fit, None
    if prefix is None:
        return
    parameters = {prefix + name for name, _ in model.named_parameters()}
    children = tuple(f'{prefix}{name}.' for name, _ in model.named_children())
    missing = [key for key in incompatible.missing_keys if key in parameters]
    unknown = [
        key
        for key in incompatible.unexpected_keys
        if key.startswith(children) and not key.endswith('num_batches_tracked')
    ]
    refuse_leftovers(OTHER, missing, unknown)


def save(model: nn.Module, path: str | os.PathLike, meta: dict | None = None) -> Path:
    """Write structure and weights of a model; an earlier file is replaced only when all is written.

    Args:
        model: Any module, pruned by mmprune or not.
        path: Target file; folders are made.
        meta: Plain data to keep beside the weights (e.g. ``dataset_meta`` for mm inference).

    Returns:
        The path.

    Raises:
        WriteError: No space left, no permission, and the like.

    Example:
        >>> mmprune.save(model, 'pruned.pth', {'dataset_meta': dict(classes=('cat', 'dog'))})
    """
    buffer = io.BytesIO()
    torch.save({'meta': dict(meta or {}), 'state_dict': model.state_dict()}, buffer)
    return write_atomically(path, buffer.getvalue())


def _make_real(model: nn.Module, path: str | os.PathLike) -> None:
    """Give the layers of a model that are on the meta device memory on the CPU, which the checkpoint will fill."""
    filled = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if buffer.is_meta and name not in filled:
            raise CheckpointError(
                f'{path}: the network to load into has no values, and those of {name} (on the meta device) are in no '
                'checkpoint; build the network on a real device'
            )
    for module in model.modules():
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if any(tensor.is_meta for tensor in own):
            module.to_empty(device='cpu', recurse=False)


def load(model: nn.Module, path: str | os.PathLike, key: str = '') -> nn.Module:
    """Cut a model to the structure in a file and load its weights, strictly.

    Args:
        model: Dense as its config builds it, or cut to this structure already; changed in place. A part of the saved
            network is fine, too, and so are wrapped and compiled ones.
        path: Written by :func:`save`, or any checkpoint; a file, or an address such as ``https://…``.
        key: Where in the checkpoint the weights stand, e.g. ``'ema'``; '' finds them.

    Returns:
        The model.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, or of another network.
        StructureError: Its structure does not fit this network.
    """
    state = weights_for(model, read_checkpoint(path), str(path), key)
    _make_real(model, path)
    try:
        model.load_state_dict(prepared(model, state), strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        reason = (
            why_not(model, state) or f'of another network: {(lines[1] if len(lines) > 1 else lines[0]).strip():.300}'
        )
        raise CheckpointError(f'{path}: {reason}') from error
    return model
