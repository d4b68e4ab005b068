"""The checks of options, and the keys in their messages."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from mmprune.errors import ConfigError
from mmprune.options.kinds import blame, choices, expected_words, fits, is_huge, shown
from mmprune.options.signature import declared, parameters

T = TypeVar('T')


class Checked:
    """Base of everything that is configured: refuses arguments that its annotations do not allow.

    Dataclasses are checked once their fields are set, other classes before ``__init__`` runs.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if '__init__' in cls.__dict__:
            cls.__init__ = _checking(cls.__init__)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        _refuse(wrong_argument(type(self), vars(self)))


def check_options(owner: Callable, given: object, key: str) -> None:
    """Refuse options that a class or function does not have, needs and lacks, or has with other values.

    Args:
        owner: The class (or function) that will be called with the options.
        given: The options as the user wrote them.
        key: Where they stand in the config, e.g. 'pruning.pruner'.

    Raises:
        ConfigError: The message begins with the full key of the first mistake.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f'{key}: a dict of options, got {shown(given)}')
    known, takes_any = parameters(owner)
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None and not takes_any:
        hint = suggest(unknown, known, 'known keys:')
        raise ConfigError(f'{key}.{unknown}: unknown{hint}')
    missing = [name for name, parameter in known.items() if parameter.default is parameter.empty and name not in given]
    if missing:
        raise ConfigError(f'{key}.{missing[0]}: missing; {owner.__name__} needs it')
    if reason := wrong_argument(owner, given):
        raise ConfigError(f'{key}.{reason}')


def build(cls: Callable[..., T], options: Mapping[str, object], key: str) -> T:
    """An object of a class, from options of a config.

    Args:
        cls: The class; its constructor may refuse combinations of options by a ValueError.
        options: Its keyword arguments as the user wrote them.
        key: Where they stand in the config.

    Raises:
        ConfigError: The message begins with the full key of the mistake.
    """
    check_options(cls, options, key)
    try:
        with under(key, cls, every=True):
            return cls(**options)
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise ConfigError(f'{key}: {cls.__name__} cannot be made from these options: {error}') from error


@contextmanager
def under(key: str, owner: object, every: bool = False) -> Iterator[None]:
    """Errors about options of a part, which begin with the option's name, get the part's key put before it.

    All other errors pass as they are. Nested calls make nested keys.

    Args:
        key: Where the part stands, e.g. 'allocator'.
        owner: The part, or its class, or a function with its options.
        every: Other errors get the key, too: they cannot be about anything else.
    """
    try:
        yield
    except ValueError as error:
        word = re.match(r'\w+(?=[.:\[=])', str(error))
        about = owner if isinstance(owner, type) or inspect.isfunction(owner) else type(owner)
        is_option = word is not None and word[0] in parameters(about)[0]
        if type(error) not in (ValueError, ConfigError) or not (is_option or every):
            raise
        raise ConfigError(f'{key}.{error}' if is_option else f'{key}: {error}').with_traceback(
            error.__traceback__
        ) from error.__cause__


def suggest(name: object, known: Iterable[str], introduction: str) -> str:
    """The end of a message about an unknown name: the nearest one, then all known ones, that one first.

    Args:
        name: What the user wrote.
        known: What would be right.
        introduction: What stands before the list, e.g. 'there are'.

    Example:
        >>> suggest('criteron', ['allocator', 'criterion'], 'ChannelPruner knows')
        ", did you mean 'criterion'? ChannelPruner knows criterion, allocator"
    """
    names = sorted(known)
    nearest = _nearest(name, names)
    if nearest is None:
        return f'; {introduction} {", ".join(names) or "none"}'
    listed = ', '.join([nearest, *(each for each in names if each != nearest)])
    return f', did you mean {nearest!r}? {introduction} {listed}'


def wrong_argument(owner: Callable, arguments: Mapping[str, object]) -> str:
    """A message about the first argument that its annotation does not allow; empty if all are right.

    ``True`` is no number, NaN, infinity and what no computer counts to are none either, and a text is no list of
    numbers.

    Args:
        owner: A function, or a class whose ``__init__`` (or that of a base class, for what it passes on) is annotated.
        arguments: As they will be passed.

    Example:
        >>> wrong_argument(ChannelPruner, dict(round_to='8'))
        "round_to: a whole number of at least 1, got '8'"
    """
    expected = declared(owner)
    for name, value in arguments.items():
        kind = expected.get(name, object)
        if not fits(value, kind):
            path, value, kind = blame(value, kind)
            nearest = _nearest(value, choices(kind))
            hint = f'; did you mean {nearest!r}?' if nearest is not None else ' (too large)' if is_huge(value) else ''
            return f'{name}{path}: {expected_words(kind)}, got {shown(value)}{hint}'
    return ''


def _nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that a text was probably meant to be."""
    if not isinstance(name, str):
        return None
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


def _refuse(reason: str) -> None:
    if reason:
        raise ConfigError(reason)


def _checking(init: Callable[..., None]) -> Callable[..., None]:
    names = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self: object, *args: object, **kwargs: object) -> None:
        _refuse(wrong_argument(init, {**dict(zip(names, args)), **kwargs}))
        init(self, *args, **kwargs)

    return checked
