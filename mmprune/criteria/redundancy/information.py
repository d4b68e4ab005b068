"""Pruning information: what was kept of every group, as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mmprune.errors import ConfigError
from mmprune.storage.files import write_atomically

VERSION = 1


def save_information(path: str | Path, threshold: float | None, groups: Mapping[str, Mapping]) -> None:
    """Write ``{"version", "threshold", "groups": {name: {"layers", "total", "kept", "order"}}}``.

    Args:
        path: The file.
        threshold: At which the choice was made.
        groups: By name: producing layers, number of units, kept units (ascending), all units in order of removal.
    """
    content = {'version': VERSION, 'threshold': threshold, 'groups': groups}
    write_atomically(path, json.dumps(content, separators=(',', ':')) + '\n')


def check_information(entries: Mapping[str, Mapping], widths: Mapping[str, int]) -> None:
    """Refuse a file of another network.

    Args:
        entries: From :func:`load_information`.
        widths: Units of every group of this network, by name.

    Raises:
        ConfigError: The file lacks a group, or knows it with another width.
    """
    for name, width in widths.items():
        if name not in entries:
            raise ConfigError(
                f'structure: it has no group {name!r}; it was made for another network, target or pruner.keep'
            )
        if entries[name]['total'] != width:
            raise ConfigError(f'structure: {name} has {width} units, the file says {entries[name]["total"]}')


def load_information(path: str | Path) -> dict[str, dict]:
    """Read and validate the groups of such a file.

    Raises:
        ValueError: It is no such file, or its indices are wrong.
    """
    try:
        raw = json.loads(Path(path).read_text())
        lacking = {'version', 'groups'} - (raw.keys() if isinstance(raw, dict) else set())
        if lacking:
            raise ValueError(f'it has no {" and no ".join(sorted(lacking))}; only files that mmprune wrote are read')
        version, groups = raw['version'], raw['groups']
        entries = [(name, entry['total'], entry['kept'], entry['order']) for name, entry in groups.items()]
    except FileNotFoundError as error:
        raise ValueError(f'structure: there is no file {path}') from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f'structure: {path} is no pruning information ({_reason(error)})') from error
    if version != VERSION:
        raise ValueError(f'structure: {path} has version {version!r:.40}, this mmprune reads {VERSION}')
    for name, total, kept, order in entries:
        if type(total) is not int or not all(
            isinstance(units, list) and all(type(unit) is int for unit in units) for units in (kept, order)
        ):
            raise ValueError(
                f'structure: {path}: {name} needs a number as "total", and lists of numbers as "kept" and "order"'
            )
        if len(order) != total or sorted(order) != list(range(total)):
            raise ValueError(f'structure: {path}: "order" of {name} must hold 0 … {total - 1} once each')
        if not kept or kept != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= total:
            raise ValueError(f'structure: {path}: "kept" of {name} must rise within [0, {total})')
    return groups


def _reason(error: Exception) -> str:
    return str(error)[:90] if type(error) is ValueError else f'{error!r:.80}'
