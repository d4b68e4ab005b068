"""State dicts that describe a pruned network: it takes its structure from them, completely or not at all.

A pruned model's ``state_dict()`` carries its :class:`Structure` in the metadata that PyTorch itself keeps beside the
tensors (``state_dict._metadata``), so every way of saving keeps it, and every way of loading hands it to the model.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from mmprune.checkpoint.reading import read_checkpoint
from mmprune.errors import CheckpointError
from mmprune.storage.files import write_atomically
from mmprune.surgery.masking import attach_mask, freeze_outside
from mmprune.surgery.slicing import FROZEN, MASK
from mmprune.surgery.structure import Structure

KEY = 'mmprune'


def structure_of(model: nn.Module, create: bool = False) -> Structure | None:
    """Structure of a model: the channels that it kept so far.

    Args:
        model: Pruned or not.
        create: Attach an empty structure to a model that has none.

    Returns:
        None if the model was never pruned.
    """
    structure = getattr(model, '_mmprune_structure', None)
    if structure is None and create:
        structure = Structure()
        set_structure(model, structure)
    return structure


def set_structure(model: nn.Module, structure: Structure) -> None:
    """Attach a structure, and make the model save and load it.

    Args:
        model: Cut to this structure already.
        structure: Replaces an earlier one.
    """
    model._mmprune_structure = structure
    make_loadable(model)


def make_loadable(model: nn.Module, strict: bool = False) -> None:
    """Let a model write its structure into its state dict, and cut itself to the structure of one that it loads.

    Args:
        model: Any module; loading hooks are added to it, nothing else changes.
        strict: Whether dense checkpoints, too, must fit completely. Pruned ones always must.
    """
    if getattr(model, '_mmprune_loadable', False):
        return
    model._mmprune_loadable, model._mmprune_strict, model._mmprune_must_fit = True, strict, None
    model._register_state_dict_hook(_write_structure)
    model.register_load_state_dict_pre_hook(_read_structure)
    model.register_load_state_dict_post_hook(_refuse_leftovers)


def _write_structure(model: nn.Module, state: OrderedDict, prefix: str, local_metadata: dict) -> None:
    structure = structure_of(model)
    if structure:
        local_metadata[KEY] = structure.to_json()


def _read_structure(
    model: nn.Module,
    state: dict,
    prefix: str,
    local_metadata: dict,
    strict: bool,
    missing: list,
    unexpected: list,
    errors: list,
) -> None:
    _attach_masks(model, state, prefix)
    text = local_metadata.get(KEY)
    reason = ''
    if text is None:
        if structure_of(model):
            reason = 'this network is pruned, the checkpoint is not of it'
        elif model._mmprune_strict:
            reason = 'the checkpoint is of another network (to load what fits, set model.strict=False)'
    else:
        if f'{KEY}_guard' in local_metadata:
            local_metadata[f'{KEY}_guard']()
        structure = Structure.from_json(text)
        structure.apply(model)
        model._mmprune_structure = structure
        reason = 'the pruned checkpoint is of another network'
    model._mmprune_must_fit = (prefix, reason) if reason else None
    if reason:
        _check_shapes(model, state, prefix, reason)


def _check_shapes(model: nn.Module, state: dict, prefix: str, reason: str) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        given = state.get(prefix + name)
        if given is None:
            continue
        if not isinstance(given, Tensor) or given.layout != torch.strided or given.is_meta:
            raise CheckpointError(f'{name}: the checkpoint holds a {type(given).__name__} that cannot be copied')
        if given.shape != tensor.shape:
            raise CheckpointError(
                f'{name}: the checkpoint holds shape {tuple(given.shape)}, '
                f'the network needs {tuple(tensor.shape)}; {reason}'
            )


def _refuse_leftovers(model: nn.Module, incompatible: _IncompatibleKeys) -> None:
    """A checkpoint fits completely or not at all.

    Buffers that old checkpoints lack, and entries beside the network (an ``ema_…`` copy), are the host's affair.
    """
    if model._mmprune_must_fit is None:
        return
    (prefix, reason), model._mmprune_must_fit = model._mmprune_must_fit, None
    parameters = {prefix + name for name, _ in model.named_parameters()}
    children = tuple(f'{prefix}{name}.' for name, _ in model.named_children())
    missing = [key for key in incompatible.missing_keys if key in parameters]
    unknown = [
        key
        for key in incompatible.unexpected_keys
        if key.startswith(children) and not key.endswith('num_batches_tracked')
    ]
    problems = [f'{verb} {_some(keys)}' for verb, keys in (('lacks', missing), ('has the unknown', unknown)) if keys]
    if problems:
        raise CheckpointError(f'{reason}: it {" and ".join(problems)}')


def _some(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f'{keys[0]} (and {len(keys) - 1} more)'


def _attach_masks(model: nn.Module, state: dict, prefix: str) -> None:
    modules = None
    for key in state:
        name = key.rpartition('.')[2]
        if key.startswith(prefix) and name in (MASK, FROZEN):
            modules = modules or dict(model.named_modules())
            module = modules.get(key[len(prefix) : -len(name) - 1])
            if isinstance(getattr(module, 'weight', None), Tensor) and not hasattr(module, name):
                attach = attach_mask if name == MASK else freeze_outside
                attach(module, torch.ones_like(module.weight, dtype=torch.bool))


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
    state = model.state_dict()
    torch.save({'meta': dict(meta or {}), 'state_dict': state}, buffer)
    return write_atomically(path, buffer.getvalue())


def load(model: nn.Module, path: str | os.PathLike) -> nn.Module:
    """Cut a model to the structure in a file and load its weights, strictly.

    Args:
        model: Dense as its config builds it, or cut to this structure already; changed in place.
        path: Written by :func:`save`, or a checkpoint of a run; a file, or an address such as ``https://…``.

    Returns:
        The model.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, or of another network.
        StructureError: Its structure does not fit this network.
    """
    checkpoint = read_checkpoint(path)
    state = checkpoint.get('state_dict', checkpoint)
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        raise CheckpointError(
            f'{path}: the network to load into has no values ({empty[0]} is on the meta device); call '
            'model.to_empty(device=…) first'
        )
    make_loadable(model)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise CheckpointError(
            f'{path}: of another network: {(lines[1] if len(lines) > 1 else lines[0]).strip():.300}'
        ) from error
    return model
