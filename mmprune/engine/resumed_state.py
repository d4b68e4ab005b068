"""Is what a checkpoint says about optimiser, schedules and logs of the kinds that training works with?"""

from __future__ import annotations

import numbers
from collections.abc import Iterable

from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from torch import Tensor


def resumed_problem(runner: Runner, schedules: Iterable[dict]) -> str:
    """What is wrong with the state that a runner has loaded; empty if nothing is.

    Args:
        runner: Just resumed.
        schedules: State of every learning-rate schedule before that.
    """
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    for number, group in enumerate(getattr(optimizer, 'param_groups', ())):
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
    hub = runner.message_hub
    whole = all(isinstance(value, HistoryBuffer) for value in hub.log_scalars.values()) and all(
        isinstance(value, bool) for value in hub._resumed_keys.values()
    )
    return '' if whole else 'its log is damaged'


def states_of(schedules: object) -> list[dict]:
    """The states of a runner's learning-rate schedules."""
    return [dict(schedule.state_dict()) for schedule in _flat(schedules)]


def _flat(schedules: object) -> list:
    if isinstance(schedules, dict):
        schedules = [item for items in schedules.values() for item in items]
    return [item for item in schedules or () if hasattr(item, 'state_dict')]


def _alike(known: object, found: object) -> bool:
    """Whether a loaded value is of the kind of the one that it replaces."""
    if known is None or found is None:
        return known is None
    if isinstance(known, bool) or isinstance(found, bool):
        return type(known) is type(found)
    if isinstance(known, numbers.Real) or isinstance(found, numbers.Real):
        return (
            isinstance(known, (numbers.Real, Tensor))
            and isinstance(found, (numbers.Real, Tensor))
            and abs(found) < 2**62
        )
    if isinstance(known, (list, tuple)) and isinstance(found, (list, tuple)):
        return not known or len(found) > 0 and all(_alike(known[0], item) for item in found)
    return isinstance(found, type(known))
