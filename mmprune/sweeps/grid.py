"""The grid of a sweep: keys of a config and their values, and the cells that they span."""

from __future__ import annotations

import ast
import copy
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config, DictAction

from mmprune.engine.config import prepare_config
from mmprune.errors import ConfigError
from mmprune.sweeps.cells import flat

LONGEST_NAME = 120


@dataclass(frozen=True)
class Cell:
    """One point of a grid.

    Attributes:
        name: Names its folder; says the same however the grid around it changes.
        labels: What a table shows: short key and value as text.
        values: Grid key and value.
        options: What ``--cfg-options`` gets.
        config: The config as tools/train.py would hand it to the runner.
    """

    name: str
    labels: Mapping[str, str]
    values: Mapping[str, object]
    options: Mapping[str, object]
    config: Config


def parse_grid(texts: Sequence[str]) -> dict[str, list[object]]:
    """Keys and their values from ``KEY=V1,V2`` texts.

    Values are read as ``--cfg-options`` reads them; ``none`` is None, ``{'type': 'LBYL', 'lambda1': 0.1}`` a dict.
    Commas inside brackets do not separate values.

    Raises:
        ConfigError: A text of another form, or a key given twice.
    """
    grid: dict[str, list[object]] = {}
    for text in texts:
        key, _, values = text.partition('=')
        if not re.fullmatch(r'\w+(\.\w+)*', key) or not values:
            raise ConfigError(f'--grid: expected KEY=V1,V2 with a dotted key of the config, got {text!r}')
        if key in grid:
            raise ConfigError(f'--grid: {key} is given twice; write all its values behind one key')
        found = [_value(key, item) for item in _split(key, values)]
        grid[key] = [value for i, value in enumerate(found) if value not in found[:i] or isinstance(value, bool)]
    return grid


def cells_of(
    config: Config, grid: Mapping[str, Sequence[object]], common: Mapping[str, object] | None = None
) -> list[Cell]:
    """All cells of a grid, each checked before anything runs.

    A key that ends in ``.type`` chooses a whole part: another type than the config's own does not inherit its
    arguments, and None switches the part off.

    Args:
        config: As read from its file.
        grid: From :func:`parse_grid`; the last key varies fastest.
        common: Options of every cell.

    Raises:
        ConfigError: A key that the config does not have, or a combination that cannot run; the message names it.
    """
    base = copy.deepcopy(config)
    _merge(base, common or {}, '--cfg-options')
    for key in grid:
        _check_key(base, key)
    shorts = _short_names(list(grid))
    cells = []
    for combination in itertools.product(*grid.values()):
        values = dict(zip(grid, combination))
        labels = {shorts[key]: label(value) for key, value in values.items()}
        name = _name({_short(key): label(value) for key, value in values.items()})
        options, replaced = dict(common or {}), []
        for key, value in values.items():
            part, changes = _changes(base, key, value)
            options |= changes
            replaced += [part] if part else []
            below = [other for other in values if part and other.startswith(f'{part}.') and other != key]
            if below and changes.get(part, ...) is None:
                raise ConfigError(
                    f'--grid {below[0]}: {part} is none in some cells; write whole parts instead, e.g. '
                    f"--grid \"{part}={{'type': …, '{below[0].rpartition('.')[2]}': …}},none\""
                )
        own = set(values)
        options = {
            key: value
            for key, value in options.items()
            if key in own or key not in (common or {}) or not any(key.startswith(f'{part}.') for part in replaced)
        }
        prepared = copy.deepcopy(config)
        _merge(prepared, options, name)
        try:
            prepare_config(prepared)
        except ConfigError as error:
            raise ConfigError(f'--grid, cell {name}: {error}' if name else str(error)) from error
        cells.append(Cell(name or 'as-configured', labels, values, options, prepared))
    return cells


def label(value: object) -> str:
    """A value as a table and a folder show it: ``none``, ``0.3``, ``LBYL(lambda1=0.1)``."""
    if value is None:
        return 'none'
    if isinstance(value, Mapping):
        inner = ','.join(f'{key}={label(item)}' for key, item in value.items() if key != 'type')
        return f'{value.get("type", "")}({inner})' if inner else str(value.get('type', ''))
    if isinstance(value, (list, tuple)):
        return '+'.join(label(item) for item in value)
    return str(value)


def _split(key: str, text: str) -> list[str]:
    """At commas outside brackets."""
    items, depth = [''], 0
    for character in text:
        depth += (character in '([{') - (character in ')]}')
        if character == ',' and depth == 0:
            items.append('')
        else:
            items[-1] += character
    if depth or not all(item.strip() for item in items):
        raise ConfigError(f'--grid {key}: values are separated by single commas, brackets are closed; got {text!r}')
    return [item.strip() for item in items]


def _value(key: str, text: str) -> object:
    if text.startswith('{'):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise ConfigError(
                f"--grid {key}: a dict is written as {{'type': 'LBYL', 'lambda1': 0.1}}, got {text}"
            ) from error
    return None if text.lower() == 'none' else DictAction._parse_iterable(text)


def _changes(base: Config, key: str, value: object) -> tuple[str, dict[str, object]]:
    """The part that is replaced as a whole ('' if none is), and the options that say so."""
    part = key.removesuffix('.type') if key.endswith('.type') else ''
    if part and value is None:
        return part, {part: None}
    if part:
        now = _get(base, part)
        now = now.get('type') if isinstance(now, Mapping) else now
        return ('', {}) if now == value else (part, {**_without(base, part), key: value})
    if isinstance(value, Mapping):
        return key, {**_without(base, key), **flat(value, key)}
    return '', {key: value}


def _without(base: Config, part: str) -> dict[str, bool]:
    """The option that drops what the config says of a part; where it says nothing, mmengine would keep the option."""
    parent, _, name = part.rpartition('.')
    above = _get(base, parent) if parent else base
    return {f'{part}._delete_': True} if above is not None and name in above else {}


def _get(config: Any, key: str) -> Any:
    """Value under a dotted key of nested dicts and lists, or None."""
    for name in key.split('.'):
        if isinstance(config, (list, tuple)) and name.isdigit() and int(name) < len(config):
            config = config[int(name)]
        else:
            config = config.get(name) if isinstance(config, Mapping) or hasattr(config, 'keys') else None
    return config


def _check_key(base: Config, key: str) -> None:
    """Refuse keys that nothing would read. Below ``pruning`` the parts themselves refuse them."""
    top, _, rest = key.partition('.')
    if top == 'pruning' and rest:
        return
    parent = key.rpartition('.')[0]
    if (_get(base, parent) if parent else base.get(key)) is None:
        known = ', '.join(sorted(name for name in base if name.startswith(top[:3]))) or 'pruning, optim_wrapper, …'
        raise ConfigError(f'--grid {key}: the config has no {parent or key}; keys like it: {known}')


def _merge(config: Config, options: Mapping[str, object], where: str) -> None:
    try:
        config.merge_from_dict(dict(options))
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ConfigError(f'--grid, {where}: {" ".join(str(error).split())}') from error


def _short(key: str) -> str:
    return key.removeprefix('pruning.').removesuffix('.type')


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last word of each key where it is enough to tell them apart."""
    last = [_short(key).rpartition('.')[2] for key in keys]
    return {key: word if last.count(word) == 1 else _short(key) for key, word in zip(keys, last)}


def _name(labels: Mapping[str, str]) -> str:
    name = re.sub(r'[^\w.=,+()-]+', '-', ','.join(f'{key}={text}' for key, text in sorted(labels.items())))
    if len(name) <= LONGEST_NAME:
        return name
    return f'{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}'
