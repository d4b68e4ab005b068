"""The place of a model's weights in a checkpoint, and the reason why there are none."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from operator import ge
from typing import Any

from torch import Tensor, nn

from mmprune.checkpoint.names import WRAPPERS, aligned, plain_name
from mmprune.checkpoint.taking import part_of, records_in
from mmprune.errors import CheckpointError

#: Where programs put a network's weights; of several that fit, the first is taken.
PLACES = ('', 'state_dict', 'model_state_dict', 'model', 'net', 'network', 'student', 'weights', 'params')
#: So many names of parts are listed in a message.
MOST_NAMES = 8


def places(checkpoint: Mapping[str, Any], depth: int = 2) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Everything in a checkpoint that looks like a state dict, and the key under which it stands."""
    if any(isinstance(value, Tensor) for value in checkpoint.values()):
        yield '', checkpoint
    for key, value in checkpoint.items():
        if depth and isinstance(value, Mapping) and key not in ('optimizer', 'message_hub', 'meta'):
            for place, state in places(value, depth - 1):
                yield '.'.join(filter(None, (str(key), place))), state


def pruned_state(checkpoint: Any) -> Any:
    """The state dict of a pruned network, wherever in a checkpoint it stands; the checkpoint itself if none is."""
    if isinstance(checkpoint, Mapping) and not records_in(checkpoint):
        for place in sorted(found := dict(places(checkpoint)), key=_rank):
            if records_in(found[place]):
                return found[place]
    return checkpoint


def _rank(place: str) -> int:
    return PLACES.index(place) if place in PLACES else len(PLACES)


def weights_for(model: nn.Module, checkpoint: Mapping[str, Any], path: str, key: str = '') -> Mapping[str, Any]:
    """The state dict in a checkpoint that a model can load, with the model's own names.

    Args:
        model: What is going to load it: the network that was saved, or a part of it; wrapped or not.
        checkpoint: As it was read.
        path: What errors call it.
        key: Under which key it stands; '' looks for it.

    Raises:
        CheckpointError: There is none; the message says why, and what to write instead.
    """
    found = dict(places(checkpoint))
    if key:
        if key not in found:
            raise CheckpointError(f'{path}: there are no weights under {key!r}; there are some under {_quoted(found)}')
        found = {key: found[key]}
    if not found:
        raise CheckpointError(f'{path}: holds no weights; its keys are {_quoted(checkpoint)}')
    own, ours = set(model.state_dict()), _counters(model)
    ranked = sorted(found, key=_rank)
    fitting = {}
    for place in ranked:
        state = _fitted(found[place], model, own, ours)
        if own <= set(state):
            fitting[place] = state
    if len(fitting) > 1 and next(iter(fitting)) not in ('', 'state_dict'):
        first, *others = fitting
        warnings.warn(
            f'{path}: has weights under {_quoted(fitting)}; those under {first!r} are loaded, '
            f'mmprune.load(model, path, key={others[0]!r}) takes the others',
            stacklevel=3,
        )
    if fitting:
        return next(iter(fitting.values()))
    best = max(ranked, key=lambda place: len(own & set(_fitted(found[place], model, own, ours))))
    _explain_part(found[best], model.state_dict(), path)
    return found[best]


def _quoted(names: Mapping[str, Any]) -> str:
    return ', '.join(repr(name) for name in names)[:200]


def _counters(model: nn.Module) -> dict[str, Tensor]:
    """Buffers of wrappers, as averages count their steps; a file of what is wrapped does not have them."""
    found, prefix = {}, ''
    while len(model._modules) == 1 and set(model._modules) <= WRAPPERS and not model._parameters:
        found.update({prefix + name: buffer for name, buffer in model._buffers.items() if buffer is not None})
        (name,) = model._modules
        model, prefix = model.get_submodule(name), f'{prefix}{name}.'
    return found


def _fitted(
    state: Mapping[str, Any], model: nn.Module, own: set[str], ours: Mapping[str, Tensor]
) -> Mapping[str, Any]:
    """With the model's names, without what is beside its weights."""
    fitted = aligned(state, model)
    if not own - set(ours) <= set(fitted):
        plain = _plain(state)
        prefixes = _prefixes(plain, {plain_name(name) for name in own - set(ours)})
        fitted = aligned(part_of(plain, prefixes[0]), model) if len(prefixes) == 1 else fitted
    result: Any = OrderedDict(
        (key, value)
        for key, value in fitted.items()
        if key in own or (isinstance(value, Tensor) and not _is_count(value))
    )
    result.update({name: buffer for name, buffer in ours.items() if name in own and name not in result})
    result._metadata = getattr(fitted, '_metadata', OrderedDict())
    return result


def _is_count(tensor: Tensor) -> bool:
    """One whole number, as averages write how often they were updated."""
    return tensor.numel() == 1 and not tensor.is_floating_point()


def _plain(state: Mapping[str, Any]) -> Mapping[str, Any]:
    plain: Any = OrderedDict((plain_name(str(key)), value) for key, value in state.items())
    plain._metadata = OrderedDict()
    for name, entry in getattr(state, '_metadata', {}).items():
        plain._metadata.setdefault(plain_name(name), {}).update(entry)
    return plain


def _prefixes(state: Mapping[str, Any], own: set[str]) -> list[str]:
    """All under which a state dict of a larger network has every tensor of a model."""
    last = max(own, key=len, default='')
    starts = [key[: -len(last)] for key in state if last and key.endswith(f'.{last}')]
    return sorted(start for start in starts if all(start + name in state for name in own))


def _explain_part(state: Mapping[str, Any], own: Mapping[str, Any], path: str) -> None:
    """Raise if a state dict is of one part of the model alone, or the model may be any of several parts of it."""
    names, plain = ({plain_name(name): value for name, value in given.items()} for given in (state, own))
    names = {name: value for name, value in names.items() if isinstance(value, Tensor)}
    parts = [
        repr(prefix.rstrip('.'))
        for prefix in _prefixes(plain, set(names))
        if all(_may_be_cut_to(plain[prefix + name], value) for name, value in names.items())
    ]
    if parts:
        raise CheckpointError(
            f'{path}: is of a part of this network alone ({_some(parts)}): load it into that part, '
            'mmprune.load(model.<part>, path)'
        )
    parts = [repr(prefix.rstrip('.')) for prefix in _prefixes(names, set(plain))]
    if parts:
        raise CheckpointError(
            f'{path}: has several parts with such tensors ({_some(parts)}): load all of the network, '
            'mmprune.load(model, path)'
        )


def _may_be_cut_to(whole: Any, part: Tensor) -> bool:
    """True if the part has as many axes, none of them longer."""
    return isinstance(whole, Tensor) and whole.dim() == part.dim() and all(map(ge, whole.shape, part.shape))


def _some(names: list[str]) -> str:
    return ', '.join(names[:MOST_NAMES]) + (', …' if len(names) > MOST_NAMES else '')


def why_not(model: nn.Module, state: Mapping[str, Any]) -> str:
    """The reason why a state dict that is no pruned network's by its record does not fit; empty if nothing is known.

    A network that was pruned has all tensors of the dense one, and some of them are smaller.
    """
    own = model.state_dict()
    if records_in(state) or not set(own) <= set(state):
        return ''
    pairs = [(name, state[name].shape, own[name].shape) for name in own if isinstance(state[name], Tensor)]
    other = [(name, given, wanted) for name, given, wanted in pairs if given != wanted]
    if not other or any(len(g) != len(w) or any(a > b for a, b in zip(g, w)) for _, g, w in other):
        return ''
    name, given, wanted = other[0]
    return (
        f'{name} has shape {tuple(given)}, the network needs {tuple(wanted)}; if it was pruned, the record of that is '
        'lost: it stands in the metadata of a state dict, which a dict made of its items does not have; '
        'save with mmprune.save(model, path), or torch.save(model.state_dict(), path)'
    )
