"""Patterns of module names and what they match: targets, ``keep``, ``overrides``, supervision points."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from mmprune.errors import ConfigError


def describe(targets: Sequence[str]) -> str:
    """The targets as a reader would name them."""
    return ', '.join(target or 'the whole model' for target in targets)


def is_inside(name: str, targets: Sequence[str]) -> bool:
    """A module path that lies in one of the targets ('' contains everything)."""
    return any(not target or name == target or name.startswith(f'{target}.') for target in targets)


def matches(name: str, patterns: Sequence[str], targets: Sequence[str]) -> str | None:
    """The first pattern that matches the module path, as seen from the model or from a target."""
    views = [name, *(name.removeprefix(f'{target}.') for target in targets if target)]
    return next((pattern for pattern in patterns for view in views if fnmatchcase(view, pattern)), None)


def check_patterns(patterns: Sequence[str], names: Sequence[str], targets: Sequence[str], key: str = 'keep') -> None:
    """Refuse patterns that match nothing: they are typing errors."""
    for pattern in patterns:
        if not any(matches(name, [pattern], targets) for name in names):
            examples = ', '.join(name for name in names if is_inside(name, targets))
            raise ConfigError(f'{key}: the pattern {pattern!r} matches no module; names are like {examples[:160]} …')
