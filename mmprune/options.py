"""Are the values in a config of the kinds that a part's signature names? Asked once, for every part."""

from __future__ import annotations

import inspect
import numbers
import types
import typing
from collections.abc import Iterable, Mapping, Sequence

#: How messages call what an annotation says.
WORDS = {
    bool: 'True or False',
    int: 'a whole number',
    float: 'a number',
    str: 'a text',
    type(None): 'None',
    dict: 'a dict',
    tuple: 'a tuple',
    list: 'a list',
}
#: Larger numbers are mistakes, and fit in no tensor.
HUGE = 2**62


def wrong_argument(part: type, arguments: Mapping[str, object]) -> str:
    """What is wrong with the first argument of a wrong kind; empty if all are of the right kinds.

    ``True`` is no number, NaN, infinity and what no computer counts to are none either, and a text is no list of
    numbers.

    Args:
        part: A class whose ``__init__`` (or that of a base class, for what it passes on) is annotated.
        arguments: As they will be passed.

    Example:
        >>> wrong_argument(ChannelPruner, dict(round_to='8'))
        "round_to: a whole number, got '8'"
    """
    expected = _annotations(part)
    for name, value in arguments.items():
        kind = expected.get(name, object)
        if not _fits(value, kind):
            return f'{name}: {" or ".join(dict.fromkeys(_words(kind)))}, got {value!r:.80}'
    return ''


def _annotations(part: type) -> dict[str, object]:
    found: dict[str, object] = {}
    for cls in reversed(inspect.getmro(part)):
        init = cls.__dict__.get('__init__')
        if inspect.isfunction(init):
            try:
                found |= inspect.get_annotations(init, eval_str=True)
            except NameError:  # a type that is only imported for type checkers
                continue
    return {name: kind for name, kind in found.items() if name != 'return'}


def _members(kind: object) -> tuple:
    return (
        typing.get_args(kind)
        if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
        else (kind,)
    )


def _fits(value: object, kind: object) -> bool:
    return any(_fits_one(value, member) for member in _members(kind))


def _fits_one(value: object, kind: object) -> bool:
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is bool:
        return isinstance(value, bool)
    if origin is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(value) < HUGE
    if origin is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and abs(value) < HUGE
    if origin is type(None) or kind is None:
        return value is None
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return isinstance(value, (tuple, list)) and len(value) == len(inner) and all(map(_fits, value, inner))
    if origin in (Sequence, Iterable, list, tuple):
        if isinstance(value, str):
            return bool(inner) and inner[0] is str and origin is not tuple
        return isinstance(value, (tuple, list)) and all(_fits(item, inner[0]) for item in value if inner)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and (
            len(inner) != 2 or all(_fits(key, inner[0]) and _fits(item, inner[1]) for key, item in value.items())
        )
    return not isinstance(origin, type) or isinstance(value, origin)


def _words(kind: object) -> list[str]:
    words = []
    for member in _members(kind):
        origin, inner = typing.get_origin(member) or member, typing.get_args(member)
        if origin in (Sequence, Iterable, list, tuple) and inner:
            items = [item for item in inner if item is not Ellipsis]
            each = ' or '.join(dict.fromkeys(word for item in items for word in _words(item)))
            words.append(f'a list (each {each})')
        elif origin is Mapping:
            words.append('a dict')
        else:
            words.append(WORDS.get(origin) or getattr(origin, '__name__', str(origin)))
    return words
