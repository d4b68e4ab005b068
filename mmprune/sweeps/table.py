"""The table of a sweep: one row per cell, mean and spread over its seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

from mmprune.errors import ConfigError
from mmprune.report.tables import human
from mmprune.storage.files import write_atomically
from mmprune.sweeps import latency
from mmprune.sweeps.launch import Run

#: What a stage costs, with the words of a table's head.
COSTS = {
    'params': 'parameters',
    'nonzero_params': 'non-zero parameters',
    'flops': 'FLOPs',
    'latency': 'milliseconds per image',
    'seconds': 'seconds',
}


@dataclass(frozen=True)
class Row:
    """A cell and what its finished runs gave.

    Attributes:
        labels: Short grid key and value as text.
        metrics: Every metric of the last stage: one value per finished seed.
        costs: ``params``, ``nonzero_params`` and ``flops`` of the last stage and ``seconds`` of all stages together,
            as means over the seeds, and ``latency``, the median milliseconds of one image, if it was measured.
        shares: All but the seconds as share of the dense network, measured beside it.
        wanted: How many seeds there should be.
    """

    labels: Mapping[str, str]
    metrics: Mapping[str, Sequence[float]]
    costs: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    wanted: int = 1

    @property
    def seeds(self) -> int:
        """Number of finished runs."""
        return max((len(values) for values in self.metrics.values()), default=0)


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """One row per cell, in the order of the cells; cells without a finished run have no metrics."""
    rows = []
    by_cell: dict[str, list[Run]] = {}
    for run in runs:
        by_cell.setdefault(run.cell.name, []).append(run)
    for group in by_cell.values():
        reports = [report for run in group if (report := run.report()) is not None]
        metrics: dict[str, list[float]] = {}
        for report in reports:
            for key, value in report['stages'][-1]['metrics'].items():
                if value is not None:
                    metrics.setdefault(key, []).append(value)
        costs, shares = {}, {}
        for key in ('params', 'nonzero_params', 'flops') if reports else ():
            costs[key] = mean(report['stages'][-1][key] for report in reports)
            dense = mean(report['stages'][0][key] for report in reports)
            shares[key] = costs[key] / dense if dense else 1.0
        if reports:
            timed = [found for run in group if (found := latency.read(run.folder)) is not None]
            if timed:
                costs['latency'] = mean(found['pruned']['p50_ms'] for found in timed)
                shares['latency'] = mean(found['pruned']['p50_ms'] / found['dense']['p50_ms'] for found in timed)
            costs['seconds'] = mean(sum(stage['seconds'] for stage in report['stages']) for report in reports)
        rows.append(Row(group[0].cell.labels, metrics, costs, shares, len(group)))
    return rows


def metric_of(rows: Sequence[Row], wanted: str | None = None) -> str | None:
    """The metric to plot: the wanted one, else the first there is; None if nothing was measured.

    Raises:
        ConfigError: The wanted one is not among those that were measured.
    """
    known = list(dict.fromkeys(key for row in rows for key in row.metrics))
    if wanted is not None and known and wanted not in known:
        raise ConfigError(f'--metric: {wanted} was not measured; there are {", ".join(known)}')
    return wanted if wanted in known else known[0] if known else None


def write_tables(rows: Sequence[Row], folder: Path) -> tuple[Path, Path]:
    """Write ``sweep.csv`` (numbers) and ``sweep.md`` (for people)."""
    keys = list(dict.fromkeys(key for row in rows for key in row.labels))
    metrics = list(dict.fromkeys(key for row in rows for key in row.metrics))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    known = [key for key in COSTS if key != 'latency' or any(key in row.costs for row in rows)]
    shares = [key for key in known if key != 'seconds']
    writer.writerow(
        [
            *keys,
            'seeds',
            *(f'{key} {kind}' for key in metrics for kind in ('mean', 'std')),
            *known,
            *(f'{key} share' for key in shares),
        ]
    )
    for row in rows:
        writer.writerow(
            [
                *(row.labels.get(key, '') for key in keys),
                row.seeds,
                *(number for key in metrics for number in _mean_and_std(row.metrics.get(key, ()))),
                *(row.costs.get(key, '') for key in known),
                *(row.shares.get(key, '') for key in shares),
            ]
        )
    lines = [[*keys, 'seeds', *metrics, *(COSTS[key] for key in known)]]
    lines.append(['---'] * len(lines[0]))
    for row in rows:
        cells = [row.labels.get(key, '') for key in keys]
        seeds = str(row.seeds) if row.seeds == row.wanted else f'{row.seeds} of {row.wanted}'
        cells += [seeds, *(spread(row.metrics.get(key, ())) for key in metrics)]
        for key in known:
            text = (
                ''
                if key not in row.costs
                else (
                    f'{row.costs[key]:.2f} ({100 * row.shares[key]:.1f} %)'
                    if key == 'latency'
                    else f'{human(row.costs[key])} ({100 * row.shares[key]:.1f} %)'
                    if key in row.shares
                    else f'{row.costs[key]:.1f}'
                )
            )
            cells.append(text)
        lines.append([cell.replace('|', '\\|') for cell in cells])
    text = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    note = (
        '\nFigures are of the last stage, mean ± standard deviation over the seeds; FLOPs are multiply-adds; '
        'seconds are those of pruning, repair and training, evaluation not counted.\n'
    )
    return (
        write_atomically(folder / 'sweep.csv', buffer.getvalue()),
        write_atomically(folder / 'sweep.md', f'{text}\n{note}'),
    )


def spread(values: Sequence[float]) -> str:
    """``82.69``, or ``82.69 ± 0.31`` of several."""
    if not values:
        return ''
    return f'{mean(values):.2f}' + (f' ± {stdev(values):.2f}' if len(values) > 1 else '')


def _mean_and_std(values: Sequence[float]) -> tuple[object, object]:
    return (mean(values) if values else '', stdev(values) if len(values) > 1 else '')
