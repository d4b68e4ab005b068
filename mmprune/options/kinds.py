"""Kinds of values that annotations declare, and how messages call them."""

from __future__ import annotations

import numbers
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

#: How messages call what an annotation says.
WORDS: dict[object, str] = {
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
SEQUENCES = (Sequence, Iterable, list, tuple)
MAPPINGS = (Mapping, dict)


@dataclass(frozen=True)
class Bounds:
    """Interval that a number lies in; ``Annotated[float, Bounds(above=0)]`` declares it.

    Attributes:
        at_least: Lowest value, itself allowed.
        above: Lowest value, itself not allowed.
        at_most: Highest value, itself allowed.
        below: Highest value, itself not allowed.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """True for a number inside."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def words(self, noun: str) -> str:
        """The interval in words, e.g. 'a number in [0, 1)', 'a whole number of at least 1'."""
        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        if low is not None and high is not None:
            left, right = '[' if self.above is None else '(', ']' if self.below is None else ')'
            return f'{noun} in {left}{low:,}, {high:,}{right}'
        if high is None:
            return f'{noun} {"of at least" if self.above is None else "above"} {low:,}'
        return f'{noun} {"of at most" if self.below is None else "below"} {high:,}'


@dataclass(frozen=True)
class Says:
    """The words of messages for an option whose annotation alone would read badly."""

    text: str


#: Share that is removed.
Ratio = Annotated[float, Bounds(at_least=0, below=1)]
#: Share that remains, or that must agree.
Share = Annotated[float, Bounds(above=0, at_most=1)]
#: Weight between two things.
Fraction = Annotated[float, Bounds(at_least=0, at_most=1)]
Positive = Annotated[float, Bounds(above=0)]
NonNegative = Annotated[float, Bounds(at_least=0)]
Count = Annotated[int, Bounds(at_least=1)]
NonNegativeCount = Annotated[int, Bounds(at_least=0)]
#: A registered part.
PartConfig = Annotated[str | dict, Says('a name or dict(type=…)')]
#: (C, H, W).
ImageShape = Annotated[tuple[Count, Count, Count], Says('(channels, height, width)')]

# ---- what fits ----


def fits(value: object, kind: object) -> bool:
    """True where a value is of the kind that an annotation names, and within its bounds."""
    return any(_fits_one(value, member) for member in _members(kind))


def _fits_one(value: object, kind: object) -> bool:
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is Annotated:
        bounds = [mark for mark in inner[1:] if isinstance(mark, Bounds)]
        return fits(value, inner[0]) and all(bound.hold(typing.cast(float, value)) for bound in bounds)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin is bool:
        return isinstance(value, bool)
    if origin is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and not is_huge(value)
    if origin is float:
        return _is_number(value) and not is_huge(value)
    if origin is type(None) or kind is None:
        return value is None
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return isinstance(value, (tuple, list)) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin in SEQUENCES:
        if isinstance(value, str):
            return bool(inner) and inner[0] is str and origin is not tuple
        return isinstance(value, (tuple, list)) and all(fits(item, inner[0]) for item in value if inner)
    if origin in MAPPINGS:
        return isinstance(value, Mapping) and (
            len(inner) != 2 or all(fits(key, inner[0]) and fits(item, inner[1]) for key, item in value.items())
        )
    return not isinstance(origin, type) or isinstance(value, origin)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value  # not NaN


def _members(kind: object) -> tuple:
    is_union = isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
    return typing.get_args(kind) if is_union else (kind,)


# ---- what messages say ----


def blame(value: object, kind: object) -> tuple[str, object, object]:
    """The innermost item of a value that does not fit: its path (e.g. "['layer1']", or ''), itself, and its kind."""
    item_kind = _item_kind(value, kind)
    if item_kind is not None:
        items = value.items() if isinstance(value, Mapping) else enumerate(typing.cast(Sequence, value))
        for key, item in items:
            if not fits(item, item_kind):
                path, value, kind = blame(item, item_kind)
                return f'[{key!r}]{path}', value, kind
    return '', value, kind


def _item_kind(value: object, kind: object) -> object | None:
    """The kind of all items of a dict or list, where only one of the allowed kinds has items."""
    wanted = MAPPINGS if isinstance(value, Mapping) else SEQUENCES if isinstance(value, (tuple, list)) else ()
    inner = [typing.get_args(member) for member in _members(kind) if typing.get_origin(member) in wanted]
    if len(inner) != 1 or not inner[0]:
        return None
    if wanted is MAPPINGS:
        return inner[0][1]
    return inner[0][0] if len(inner[0]) == 1 or inner[0][1] is Ellipsis else None


def choices(kind: object) -> list[str]:
    """The texts among the values that a kind lists one by one."""
    return [
        choice
        for member in _members(kind)
        for choice in (typing.get_args(member) if typing.get_origin(member) is Literal else ())
        if isinstance(choice, str)
    ]


def expected_words(kind: object) -> str:
    """A kind in words: 'a whole number of at least 1 or None'."""
    words = list(dict.fromkeys(word for member in _members(kind) for word in _words(member)))
    return ' or '.join(filter(None, (', '.join(words[:-1]), words[-1])))


def _words(kind: object) -> list[str]:
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is Annotated:
        for mark in inner[1:]:
            if isinstance(mark, Says):
                return [mark.text]
        return [mark.words(expected_words(inner[0])) for mark in inner[1:] if isinstance(mark, Bounds)]
    if origin is Literal:
        return [repr(choice) for choice in inner]
    if origin in SEQUENCES and inner:
        items = [item for item in inner if item is not Ellipsis]
        return [f'a list (each {" or ".join(dict.fromkeys(map(expected_words, items)))})']
    if origin in MAPPINGS:
        return ['a dict']
    return [WORDS[origin] if origin in WORDS else str(getattr(origin, '__name__', origin))]


def shown(value: object) -> str:
    """A value in one short line."""
    return ' '.join(f'{value!r:.200}'.split())[:80]


def is_huge(value: object) -> bool:
    """True for numbers that no option takes, infinity among them."""
    return isinstance(value, numbers.Real) and abs(typing.cast(float, value)) >= HUGE
