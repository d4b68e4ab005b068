"""Names in state dicts, and what wrappers put into them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

#: Attributes by which wrappers hold what they wrap: DDP and averages; compiled, sharded and re-computed modules.
WRAPPERS = frozenset({'module', '_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'})


def plain_name(name: str) -> str:
    """A module's or tensor's name without what wrappers put into it."""
    return '.'.join(part for part in name.split('.') if part not in WRAPPERS)


def tensor_names(model: nn.Module) -> set[str]:
    """Names of all parameters and buffers, those of shared ones each time."""
    return {
        name
        for named in (model.named_parameters, model.named_buffers)
        for name, _ in named(remove_duplicate=False)  # type: ignore[operator]
    }


def aligned(state: Mapping[str, Any], model: nn.Module) -> Mapping[str, Any]:
    """A state dict with the model's own names, where wrappers alone make a difference; else the very same one.

    Args:
        state: Names to tensors; the metadata beside them are kept under the new names.
        model: What is going to load it.
    """
    new = _renames(state, tensor_names(model))
    if not new:
        return state
    result = OrderedDict((new.get(key, key), value) for key, value in state.items())
    metadata = getattr(state, '_metadata', None)
    if metadata is not None:
        entries: dict[str, dict] = {}
        for name, entry in metadata.items():
            entries.setdefault(plain_name(name), {}).update(entry)
        result._metadata = OrderedDict(  # type: ignore[attr-defined]
            (name, dict(entries[plain_name(name)])) for name, _ in model.named_modules() if plain_name(name) in entries
        )
    return result


def _renames(state: Mapping[str, Any], own: Collection[str]) -> dict[str, str]:
    """New name of every key that has another one in the model; empty if the names are the model's as they are."""
    fitting = sum(key in own for key in state)
    if fitting == len(own):
        return {}
    plain: dict[str, str] = {}
    for name in sorted(own):
        plain.setdefault(plain_name(name), name)
    new = {key: plain[plain_name(key)] for key in state if isinstance(key, str) and plain_name(key) in plain}
    is_unique = len(plain) == len(own) and len(set(new.values())) == len(new)
    return new if is_unique and len(new) > fitting else {}
