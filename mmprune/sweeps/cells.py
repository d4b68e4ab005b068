"""Cells of sweeps and of result tables: the command of a run, and the test that an earlier run did the same."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Lines of a config that say where results go or how a run was started, and nothing about what is computed.
PLACES = re.compile(r'^(experiment_name|launcher|resume|work_dir) = .*\n?', flags=re.MULTILINE)


def comparable(text: str) -> str:
    """A config's text without what may differ between two runs of the same."""
    return PLACES.sub('', text)


def finished(folder: str | Path, text: str, stage: str | None = None) -> dict | None:
    """The report of an earlier run of this very config, if it came to its end.

    Args:
        folder: The run's work dir.
        text: The config as it would run now (``Config.pretty_text``).
        stage: The name of the stage that a complete run ends with; None accepts any.

    Returns:
        The contents of ``report.json``; None if it is missing, damaged, of another config, or unfinished.
    """
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, IndexError):
        report = json.loads((Path(folder) / 'report.json').read_text())
        if comparable(report['config']) == comparable(text) and stage in (None, report['stages'][-1]['name']):
            return report
    return None


def option_text(value: object) -> str:
    """A value as ``--cfg-options`` reads it: ``None``, ``[a,b]``, ``0.5``."""
    if isinstance(value, (list, tuple)):
        inner = ','.join(option_text(item) for item in value)
        return f'[{inner}]' if isinstance(value, list) else f'({inner})'
    return str(value)


def arguments_of(
    config: str | Path, work_dir: str | Path, options: Mapping[str, object], more: Sequence[str] = ()
) -> list[str]:
    """The arguments of tools/train.py for one run.

    Args:
        config: The config file.
        work_dir: Where its results go.
        options: Dotted keys of the config and their values.
        more: Further arguments, e.g. ``['--seed', '1']``.
    """
    pairs = [f'{key}={option_text(value)}' for key, value in options.items()]
    return [str(config), '--work-dir', str(work_dir), *more, *(['--cfg-options', *pairs] if pairs else [])]


def flat(part: Mapping[str, object], prefix: str) -> dict[str, object]:
    """A part's dict as options with dotted keys; dicts inside it too."""
    options: dict[str, object] = {}
    for key, item in part.items():
        options |= flat(item, f'{prefix}.{key}') if isinstance(item, Mapping) else {f'{prefix}.{key}': item}
    return options


def shell_command(arguments: Sequence[str]) -> str:
    """The same run by hand, as one line for a shell."""
    return f'python tools/train.py {shlex.join(arguments)}'
