"""Taking the structure of a state dict that is going to be loaded: a network takes all of it, or nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin

from mmprune.checkpoint.names import aligned, plain_name, tensor_names
from mmprune.checkpoint.record import KEY, set_structure, structure_of
from mmprune.errors import CheckpointError, StructureError
from mmprune.surgery.masking import attach_mask, freeze_outside
from mmprune.surgery.slicing import MASK, MASKS
from mmprune.surgery.structure import Structure, widths_of

#: Marks tensors of one part of a network; of the model that loads them, some modules may be missing.
PART = 'mmprune_part'


def records_in(state: Any) -> dict[str, str]:
    """The records beside the tensors of a state dict, by the name of the module that wrote them."""
    metadata = getattr(state, '_metadata', None)
    if not isinstance(metadata, Mapping):
        return {}
    return {name: entry[KEY] for name, entry in metadata.items() if isinstance(entry, Mapping) and KEY in entry}


def part_of(state: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """The state dict of one part of a network, which has its record with it.

    Args:
        state: Of the whole network.
        prefix: What the names of the part's tensors begin with, e.g. 'backbone.'.
    """
    part: Any = OrderedDict((key[len(prefix) :], value) for key, value in state.items() if key.startswith(prefix))
    metadata = getattr(state, '_metadata', {})
    part._metadata = OrderedDict(
        (name[len(prefix) :], dict(entry)) for name, entry in metadata.items() if f'{name}.'.startswith(prefix)
    )
    own = part._metadata.setdefault('', {})
    own[PART] = True
    for name, text in records_in(state).items():
        above = f'{name}.' if name else ''
        if prefix.startswith(above) and prefix != above:
            structure = Structure.from_json(text).part(prefix[len(above) : -1])
            if structure:
                own[KEY] = structure.to_json()
    return part


def prepared(model: nn.Module, state: Any, complete: bool = True) -> Any:
    """A state dict as a model can load it, which has been cut to the structure that comes along and has its masks.

    A state dict without a structure and masks is handed on as it is, unless the model is pruned.

    Args:
        model: Dense, or cut to that structure already. If anything is wrong it stays as it was.
        state: Left alone.
        complete: Whether no parameter may be missing, even if the loader would be content.

    Raises:
        CheckpointError: The state dict is of another network.
        StructureError: Its structure is.
    """
    if not isinstance(state, Mapping):
        return state
    records, masks = records_in(state), [key for key in state if _is_mask(state, key)]
    if not records and not masks and structure_of(model) is None:
        return state
    state = aligned(state, model)
    is_part = bool(getattr(state, '_metadata', {}).get('', {}).get(PART))
    if is_part:
        children = {name for name, _ in model.named_children()}
        state = _only(state, children | {name for name, _ in model.named_parameters(recurse=False)})
    structure = _structure_for(model, records, is_part)
    undo = structure.apply(model) if structure else None
    try:
        _check(model, state, bool(records), complete)
    except BaseException:  # Ctrl-C, too
        if undo is not None:
            undo.take_back()
        raise
    if structure:
        set_structure(model, structure)
    _attach_masks(model, state)
    return state


def _only(state: Mapping[str, Any], children: set[str]) -> Mapping[str, Any]:
    """The entries of modules that the model has: a detector's backbone may end earlier than the classifier's."""
    part: Any = OrderedDict((key, value) for key, value in state.items() if key.split('.')[0] in children)
    part._metadata = getattr(state, '_metadata', OrderedDict())
    return part


def _structure_for(model: nn.Module, records: Mapping[str, str], is_part: bool) -> Structure:
    """All records as one, with the model's names."""
    modules = dict(model.named_modules())
    plain = {plain_name(name): name for name in modules}  # of wrappers and what they wrap, the inner one stays
    found = {}
    for above, text in records.items():
        for name, kept in Structure.from_json(text).modules.items():
            name = '.'.join(filter(None, (above, name)))
            if is_part and name and name.split('.')[0] not in model._modules:
                continue
            if name not in modules or widths_of(modules[name]) is None:  # a wrapper may stand there
                if plain_name(name) not in plain:
                    raise StructureError(
                        f'the structure names the module {name!r}, which this network does not have'
                        f'{_cure(name, modules)}'
                    )
                name = plain[plain_name(name)]
            found[name] = kept
    return Structure(found)


def _cure(name: str, modules: Mapping[str, nn.Module]) -> str:
    """The prefix to give where a network is loaded into one of its parts."""
    above, _, rest = name.partition('.')
    while rest:
        if rest in modules:
            return f'; to load a part of it, give init_cfg a prefix={above + "."!r}, or use mmprune.load(part, path)'
        step, _, rest = rest.partition('.')
        above = f'{above}.{step}'
    return ''


def _check(model: nn.Module, state: Mapping[str, Any], is_pruned: bool, complete: bool) -> None:
    """Raise unless everything fits.

    Buffers that old checkpoints lack, and entries beside the network (an ``ema_…`` copy), are the host's affair.
    """
    reason = (
        'the pruned checkpoint is of another network'
        if is_pruned
        else 'this network is pruned, the checkpoint is not of it'
    )
    check_shapes(model, state, reason)
    if complete:
        own = tensor_names(model)
        children = tuple(f'{name}.' for name, _ in model.named_children())
        missing = [name for name, _ in model.named_parameters() if name not in state]
        unknown = [
            key
            for key in state
            if key.startswith(children)
            and key not in own
            and not key.endswith('num_batches_tracked')
            and not _is_mask(state, key)
        ]
        refuse_leftovers(reason, missing, unknown)


def refuse_leftovers(reason: str, missing: Sequence[str], unknown: Sequence[str]) -> None:
    """Raise if a checkpoint lacks something, or has too much.

    Args:
        reason: What the error begins with.
        missing: Names of the network's tensors that are not in the checkpoint.
        unknown: Names in the checkpoint that the network does not have.

    Raises:
        CheckpointError: There is one of them.
    """
    problems = [
        f'{verb} {_some(names)}' for verb, names in (('lacks', missing), ('has the unknown', unknown)) if names
    ]
    if problems:
        raise CheckpointError(f'{reason}: it {" and ".join(problems)}')


def _some(keys: Sequence[str]) -> str:
    return keys[0] if len(keys) == 1 else f'{keys[0]} (and {len(keys) - 1} more)'


def check_shapes(model: nn.Module, state: Mapping[str, Any], reason: str, prefix: str = '') -> None:
    """Raise if a tensor could not be copied into the model.

    Args:
        model: What is going to load them.
        state: Names to tensors.
        reason: What the error says after the two shapes.
        prefix: Before the model's names in the state dict.

    Raises:
        CheckpointError: A tensor has another shape, or is no ordinary one.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        given = state.get(prefix + name)
        if (
            given is None
            or isinstance(tensor, UninitializedTensorMixin)
            or _loads_by_itself(model.get_submodule(name.rpartition('.')[0]))
        ):
            continue
        if not isinstance(given, Tensor) or given.layout != torch.strided or given.is_meta:
            raise CheckpointError(f'{name}: the checkpoint holds a {type(given).__name__} that cannot be copied')
        if given.shape != tensor.shape:
            raise CheckpointError(
                f'{name}: the checkpoint holds shape {tuple(given.shape)}, '
                f'the network needs {tuple(tensor.shape)}; {reason}'
            )


def _loads_by_itself(module: nn.Module) -> bool:
    """A layer that fits what it loads to itself, as observers and fake quantisation do with what they measured."""
    own = any('_load_from_state_dict' in vars(kind) for kind in type(module).__mro__ if kind is not nn.Module)
    return own and widths_of(module) is None


def _is_mask(state: Mapping[str, Any], key: Any) -> bool:
    """A mask of ours; those of ``torch.nn.utils.prune`` stand beside a ``weight_orig`` and no weight."""
    if not isinstance(key, str):
        return False
    layer, _, name = key.rpartition('.')
    return name in MASKS and '.'.join(filter(None, (layer, 'weight'))) in state


def _attach_masks(model: nn.Module, state: Mapping[str, Any]) -> None:
    modules = None
    for key in state:
        if _is_mask(state, key):
            layer, _, name = key.rpartition('.')
            modules = modules or dict(model.named_modules())
            module = modules.get(layer)
            if isinstance(getattr(module, 'weight', None), Tensor) and not hasattr(module, name):
                attach = attach_mask if name == MASK else freeze_outside
                attach(module, torch.ones_like(module.weight, dtype=torch.bool))
