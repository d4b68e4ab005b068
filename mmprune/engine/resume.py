"""Resuming: the progress in a checkpoint, and checks that training can go on from it."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner
from torch import Tensor

from mmprune.checkpoint.reading import read_checkpoint
from mmprune.errors import CheckpointError
from mmprune.report.report import Report

#: Under this key of ``checkpoint['meta']`` a run keeps its progress.
PROGRESS = 'mmprune'
Schedulers = Sequence[_ParamScheduler] | Mapping[str, Sequence[_ParamScheduler]]
KINDS: dict[str, type | tuple[type, ...]] = {
    'report': dict,
    'step': int,
    'widths': (dict, type(None)),
    'seconds': (int, float),
    'teacher': str,
}
NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


@dataclass
class Progress:
    """Progress of a pruning run, as its checkpoints keep it.

    Attributes:
        report: What happened.
        step: Number of the schedule's last step; -1 before the first.
        widths: Of the groups before the first step, by name; None before it.
        seconds: What training took until then.
        teacher: Fingerprint of the dense network where one is kept, else ''.
    """

    report: Report
    step: int
    widths: dict[str, int] | None
    seconds: float = 0.0
    teacher: str = ''

    def to_meta(self) -> dict[str, dict]:
        """Plain data for the ``meta`` of a checkpoint."""
        raw = {
            'report': json.loads(json.dumps(self.report.to_dict(), default=str)),
            'step': self.step,
            'widths': self.widths,
            'seconds': self.seconds,
        }
        return {PROGRESS: {**raw, 'teacher': self.teacher} if self.teacher else raw}

    @classmethod
    def from_meta(cls, meta: Mapping[str, object]) -> Progress | None:
        """Read what :meth:`to_meta` gave; None if the run did not prune.

        Raises:
            CheckpointError: It is damaged.
        """
        raw = meta.get(PROGRESS)
        if raw is None:
            return None
        found = {'seconds': 0.0, 'teacher': '', **raw} if isinstance(raw, dict) else {}
        for key, kind in KINDS.items():
            value = found.get(key, ...)
            counts = value.values() if key == 'widths' and isinstance(value, dict) else ()
            if not isinstance(value, kind) or any(type(count) is not int for count in counts):
                raise CheckpointError(f'resume: what the checkpoint tells about pruning is damaged ({key})')
        try:
            report = Report.from_dict(found['report'])
        except ValueError as error:
            raise CheckpointError(f'resume: what the checkpoint tells about pruning is damaged: {error}') from error
        return cls(report, *(found[key] for key in ('step', 'widths', 'seconds', 'teacher')))


def plain(value: Any) -> Any:
    """A value without types of its own (``ConfigDict``, NumPy scalars), so that checkpoints stay plain data."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value.item() if hasattr(value, 'item') and getattr(value, 'ndim', 1) == 0 else value


def resumed_problem(runner: Runner, schedules: Iterable[dict]) -> str:
    """A reason why training cannot go on from the state that a runner has loaded; empty if it can.

    Args:
        runner: Just resumed.
        schedules: State of every learning-rate schedule before that.
    """
    optimizer: Any = getattr(runner.optim_wrapper, 'optimizer', None)
    for number, group in enumerate(() if optimizer is None else optimizer.param_groups):
        for key, default in optimizer.defaults.items():
            if not _alike(default, group.get(key)):
                return f'{key} of the optimiser is {group.get(key)!r:.40}'
        for parameter in group['params']:
            for key, value in optimizer.state.get(parameter, {}).items():
                fits = isinstance(value, Tensor) and (not value.dim() or value.shape == parameter.shape)
                if not fits and not isinstance(value, (numbers.Real, type(None))):
                    return f"the optimiser's {key} does not fit its parameter (group {number})"
    for before, schedule in zip(schedules, _flat(runner.param_schedulers)):
        now = schedule.state_dict()
        for key, value in before.items():
            if not _alike(value, now.get(key)):
                return f'{key} of {type(schedule).__name__} is {now.get(key)!r:.40}'
    whole = all(isinstance(value, HistoryBuffer) for value in runner.message_hub.log_scalars.values())
    return '' if whole else 'its log is damaged'


def states_of(schedules: Schedulers | None) -> list[dict]:
    """The states of a runner's learning-rate schedules."""
    return [dict(schedule.state_dict()) for schedule in _flat(schedules)]


def _flat(schedules: Schedulers | None) -> list[_ParamScheduler]:
    if isinstance(schedules, dict):
        schedules = [item for items in schedules.values() for item in items]
    return [item for item in schedules or () if hasattr(item, 'state_dict')]


def _alike(known: Any, found: Any) -> bool:
    """True for a loaded value of the kind of the one that it replaces."""
    if known is None or found is None:
        return known is None
    if isinstance(known, bool) or isinstance(found, bool):
        return type(known) is type(found)
    if isinstance(known, numbers.Real) or isinstance(found, numbers.Real):
        size: Any = abs(found) if isinstance(found, (numbers.Real, Tensor)) else math.inf
        return isinstance(known, (numbers.Real, Tensor)) and size < 2**62
    if isinstance(known, (list, tuple)) and isinstance(found, (list, tuple)):
        return not known or len(found) > 0 and all(_alike(known[0], item) for item in found)
    return isinstance(found, type(known))


def run_problem(checkpoint: Mapping) -> str:
    """A reason why no run can go on from a checkpoint; empty if one can."""
    meta = checkpoint.get('meta') or {}
    if not {'epoch', 'iter'} <= set(meta):
        return (
            'holds a network and no run to resume; resume from an epoch_N.pth or iter_N.pth, or give this one as '
            'load_from'
        )
    for key in ('epoch', 'iter', 'seed'):
        value = meta.get(key)
        if not (type(value) is int and value >= 0 or (key == 'seed' and value is None)):
            return f'is damaged: its {key} is no number'
    return ''


def latest_checkpoint(work_dir: str | os.PathLike, out_dir: str | None = None) -> Path | None:
    """The checkpoint from which an interrupted run goes on: the last one, or an earlier one if that is damaged.

    Args:
        work_dir: Of the run.
        out_dir: That of the config's CheckpointHook, if it has one.

    Returns:
        None: there is none, the run has to start from the beginning.

    Raises:
        CheckpointError: There are some, and none can be read.
    """
    note = Path(work_dir) / 'last_checkpoint'
    folder = Path(work_dir) if out_dir is None else Path(out_dir) / Path(work_dir).name
    try:
        named = Path(note.read_text().strip()).name  # work dirs may be moved; and none points to a file elsewhere
    except (OSError, ValueError):
        if not note.exists():
            return None
        named = ''
    limit = int(match[1]) if (match := NUMBERED.fullmatch(named)) else None
    numbered = sorted(
        (
            (int(match[1]), path)
            for path in folder.glob('*.pth')
            if (match := NUMBERED.fullmatch(path.name)) and path.name != named
        ),
        reverse=True,
    )
    found = [folder / named] if named and (folder / named).is_file() else []
    found += [path for number, path in numbered if limit is None or number < limit]
    problems = []
    for path in found:
        try:
            problem = run_problem(read_checkpoint(path))
        except CheckpointError as error:
            problem = str(error).removeprefix(f'{path}: ')
        if not problem:
            return path
        problems.append(f'{path}: {problem}')
        print_log(f'--resume: {problems[-1]}; looking for an earlier one', 'current', 30)
    if problems:
        raise CheckpointError(f'{problems[0]}, and no earlier one can be resumed; start anew without --resume')
    return None
