"""The picture of a sweep: a metric against what was varied, and against what the network still costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from mmprune.report.figures import new_figure, write_figure
from mmprune.sweeps.table import Row

SIZES = {
    'flops': '% of the FLOPs left',
    'nonzero_params': '% of the non-zero parameters left',
    'params': '% of the parameters left',
    'latency': '% of the time left',
}


def plot_sweep(rows: Sequence[Row], metric: str, path: str | Path) -> Path:
    """Draw a metric against the first numeric key of the grid, and against what is left of FLOPs, parameters and time.

    Each combination of the other keys is a line; bars are standard deviations over the seeds. Where a panel shows a
    cost, a dashed line is the Pareto front; time is shown if it was measured of all.

    Args:
        rows: Cells; those without the metric are left out.
        metric: Larger is better.
        path: PNG to write.
    """
    rows = [row for row in rows if row.metrics.get(metric)]
    if not rows:
        raise ValueError(f'no row has the metric {metric}')
    axis_key = numeric_key(rows)
    sizes = [key for key in SIZES if len({round(row.shares[key], 4) for row in rows if key in row.shares}) > 1]
    timed = ['latency'] if 'latency' in sizes and all('latency' in row.shares for row in rows) else []
    sizes = [key for key in sizes if key != 'latency'][: 2 if 'flops' in sizes else 1] + timed
    panels = ([axis_key] if axis_key else []) + (sizes or ['flops'])
    figure = new_figure(5.2 * len(panels), 4.6)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        name = ', '.join(text for key, text in row.labels.items() if key != axis_key)
        lines.setdefault(name, []).append(row)
    for axis, panel in zip(axes, panels):
        for name, members in lines.items():
            points = sorted(
                (
                    float(row.labels[panel]) if panel == axis_key else 100 * row.shares[panel],
                    mean(row.metrics[metric]),
                    _std(row.metrics[metric]),
                )
                for row in members
            )
            x, y, error = zip(*points)
            axis.errorbar(x, y, error if any(error) else None, marker='o', markersize=4, capsize=3, label=name or None)
        axis.set_xlabel(panel if panel == axis_key else SIZES[panel])
        axis.grid(alpha=0.3)
        axis.spines[['top', 'right']].set_visible(False)
        if panel != axis_key:
            front = pareto_front([(row.shares[panel], mean(row.metrics[metric])) for row in rows])
            if len(front) > 1:
                axis.step(
                    [100 * x for x, _ in front],
                    [y for _, y in front],
                    where='post',
                    color='#333333',
                    linewidth=1,
                    linestyle='--',
                    label='Pareto front',
                )
    axes[0].set_ylabel(metric)
    if len(lines) > 1 or len(panels) > bool(axis_key):
        axes[-1].legend(frameon=False, fontsize=8)
    return write_figure(figure, path)


def numeric_key(rows: Sequence[Row]) -> str | None:
    """The first key of the grid whose values are at least two different numbers."""
    for key in rows[0].labels:
        try:
            if len({float(row.labels[key]) for row in rows}) > 1:
                return key
        except ValueError:
            continue
    return None


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, value) points that no other beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
