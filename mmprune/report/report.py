"""Report of a run as one object: written to ``report.json``, printed as tables."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmprune.options import wrong_argument
from mmprune.report.tables import human, share, table
from mmprune.storage.files import write_atomically

SCHEMA_VERSION = 1
STAGES = ('dense', 'pruned', 'restored', 'finetuned')
#: Names of what a budget limits.
BUDGETS = {'params': 'parameters', 'flops': 'FLOPs', 'latency': 'time'}


@dataclass
class Stage:
    """One state of the network.

    ``flops`` are multiply-adds at ``Report.input_shape``, ``seconds`` the wall time that making it took.
    ``target_ms`` is the time inside the targets at that shape (0: not measured); networks are timed in turn with the
    one before, and later ones are given in the first one's milliseconds.
    """

    name: str
    params: int
    flops: int
    nonzero_params: int
    target_params: int = 0
    target_flops: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    note: str = ''
    target_ms: float = 0.0


@dataclass
class LayerRow:
    """One group or layer: units before and after, and the reason if they are the same."""

    name: str
    before: int
    after: int
    reason: str = ''
    members: list[str] = field(default_factory=list)
    repair: str = ''


@dataclass
class Report:
    """Stages, layers and circumstances of a run; ``str()`` is the table for people."""

    stages: list[Stage] = field(default_factory=list)
    layers: list[LayerRow] = field(default_factory=list)
    config: dict | str | None = None
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=lambda: versions())
    input_shape: tuple[int, ...] = ()
    target: str = ''
    warnings: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)

    def stage(self, name: str) -> Stage | None:
        """The last stage of that name."""
        return next((stage for stage in reversed(self.stages) if stage.name == name), None)

    def to_dict(self) -> dict:
        """Plain data, with ``schema_version`` first; a metric that is no number (NaN) becomes None."""
        raw = {'schema_version': SCHEMA_VERSION, **asdict(self)}
        for stage in raw['stages']:
            stage['metrics'] = {
                key: value if math.isfinite(value) else None for key, value in stage['metrics'].items()
            }
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping) -> Report:
        """Read what :meth:`to_dict` gave.

        Raises:
            ValueError: Another schema version, or not a report at all.
        """
        try:
            raw = dict(raw)
            if raw.pop('schema_version', None) != SCHEMA_VERSION:
                raise ValueError(f'not a report of schema version {SCHEMA_VERSION}')
            for kind, items in ((Stage, raw['stages']), (LayerRow, raw['layers'])):
                for item in items:
                    if wrong := wrong_argument(kind, {k: v for k, v in item.items() if k != 'metrics'}):
                        raise ValueError(f'not a report: {wrong}')
            raw['stages'] = [Stage(**stage) for stage in raw['stages']]
            for stage in raw['stages']:
                stage.metrics = {key: math.nan if value is None else value for key, value in stage.metrics.items()}
            raw['layers'] = [LayerRow(**row) for row in raw['layers']]
            raw['input_shape'] = tuple(raw['input_shape'])
            return cls(**raw)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f'not a report: {error!r:.120}') from error

    def save(self, path: str | os.PathLike) -> Path:
        """Write the report as JSON; an earlier file is replaced only when the new one is complete."""
        return write_atomically(path, json.dumps(self.to_dict(), indent=1, default=str) + '\n')

    @classmethod
    def load(cls, path: str | os.PathLike) -> Report:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or no report.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path}: {error}') from error

    def layer_table(self) -> str:
        """One line per group: name, width before → after, what else is in it, why it is whole."""
        rows = [('group', 'width', 'also', 'remark')]
        for row in self.layers:
            width = f'{row.before} → {row.after}' if row.after != row.before else f'{row.before}'
            also = f'+{len(row.members) - 1} modules' if len(row.members) > 1 else ''
            rows.append((row.name, width, also, '; '.join(part for part in (row.reason, row.repair) if part)))
        return table(rows)

    def stage_table(self) -> str:
        """One line per stage: metrics, parameters, FLOPs, time."""
        keys = list(dict.fromkeys(key for stage in self.stages for key in stage.metrics))
        timed = ('target time',) if any(stage.target_ms for stage in self.stages) else ()
        head = ('stage', *keys, 'params', 'non-zero', 'FLOPs', 'target FLOPs', *timed, 'seconds', 'remark')
        rows: list[tuple[str, ...]] = [head]
        for stage in self.stages:
            dense = self.stages[0]
            metrics = [f'{stage.metrics[key]:.4g}' if key in stage.metrics else '' for key in keys]
            rows.append(
                (
                    stage.name,
                    *metrics,
                    f'{human(stage.params)} ({share(stage.params, dense.params)})',
                    human(stage.nonzero_params),
                    f'{human(stage.flops)} ({share(stage.flops, dense.flops)})',
                    share(stage.target_flops, dense.target_flops),
                    *(self._time(stage) for _ in timed),
                    f'{stage.seconds:.1f}',
                    stage.note,
                )
            )
        return table(rows)

    def _time(self, stage: Stage) -> str:
        if not stage.target_ms:
            return ''
        return f'{stage.target_ms:.3g} ms ({share(stage.target_ms, self.stages[0].target_ms)})'

    def __str__(self) -> str:
        shape = '×'.join(map(str, self.input_shape))
        origin = self.extra.get('input_shape_from')
        head = f'pruned {self.target or "the whole model"}; FLOPs are multiply-adds at input {shape}'
        head += f' (the size of {origin})' if origin else ''
        lines = [self.layer_table(), '', head, self.stage_table(), self._budget_line()]
        return '\n'.join([*(line for line in lines if line is not None), *(f'! {text}' for text in self.warnings)])

    def _budget_line(self) -> str | None:
        budget = self.extra.get('budget')
        if not budget:
            return None
        quantity = BUDGETS.get(budget['quantity'], budget['quantity'])
        return f'asked for {budget["asked"]:.2%} of the {quantity} that may be pruned, reached {budget["reached"]:.2%}'


def versions() -> dict[str, str]:
    """Versions of everything that decides a result."""
    import mmengine
    import numpy
    import torch
    import torch_pruning

    from mmprune.version import __version__

    found = {
        'mmprune': __version__,
        'python': platform.python_version(),
        'torch': torch.__version__,
        'mmengine': mmengine.__version__,
        'numpy': numpy.__version__,
        'torch_pruning': getattr(torch_pruning, '__version__', '?'),
    }
    for name in ('mmcv', 'mmdet', 'mmpretrain'):
        try:
            found[name] = __import__(name).__version__
        except ImportError:
            continue
    return found
