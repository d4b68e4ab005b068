"""The picture of a run: what every group lost, and what that did to the network."""

from __future__ import annotations

import io
from pathlib import Path

from mmprune.report.report import Report, human
from mmprune.storage.files import write_atomically

KEPT, LOST, WHOLE = '#2f6f8f', '#d9dee2', '#9aa7b0'
STAGE_COLORS = {'dense': '#9aa7b0', 'pruned': '#d1605e', 'restored': '#2f6f8f', 'finetuned': '#3a9a5b'}


def plot_report(report: Report, path: str | Path) -> Path:
    """Draw widths before and after per group, and metrics, parameters and FLOPs per stage.

    Args:
        report: A run with at least one stage.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    keys = list(dict.fromkeys(key for stage in report.stages for key in stage.metrics))[:2]
    figure = Figure(figsize=(12, 4.6 + 0.03 * len(report.layers)), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 + len(keys), width_ratios=[2.6, *[1] * (1 + len(keys))])
    _draw_widths(panels[0], report)
    for axis, key in zip(panels[1:], keys):
        _draw_bars(axis, [(s.name, s.metrics.get(key)) for s in report.stages], key, '{:.1f}'.format)
    dense = report.stages[0]
    bars = [
        (kind, 100 * getattr(report.stages[-1], field) / max(1, getattr(dense, field)))
        for kind, field in (('parameters', 'params'), ('non-zero', 'nonzero_params'), ('FLOPs', 'flops'))
    ]
    _draw_bars(panels[-1], bars, '% of the dense network left', '{:.0f} %'.format)
    figure.suptitle(
        f'{report.target or "whole model"}: {human(dense.params)} → {human(report.stages[-1].params)} '
        f'parameters, {human(dense.flops)} → {human(report.stages[-1].flops)} multiply-adds'
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return write_atomically(path, buffer.getvalue())


def _draw_widths(axis: object, report: Report) -> None:
    rows = report.layers
    positions = range(len(rows))
    axis.bar(positions, [row.before for row in rows], color=LOST, width=0.85, label='removed')
    axis.bar(
        positions,
        [row.after for row in rows],
        width=0.85,
        label='kept',
        color=[WHOLE if row.reason and row.after == row.before else KEPT for row in rows],
    )
    if max((row.before for row in rows), default=1) > 8 * max(1, min((row.before for row in rows), default=1)):
        axis.set_yscale('log', base=2)
    step = max(1, len(rows) // 24)
    axis.set_xticks(list(positions)[::step], [row.name for row in rows][::step], rotation=90, fontsize=7)
    axis.set_title('units per group (grey: kept whole)', fontsize=10)
    axis.margins(x=0.01)
    axis.spines[['top', 'right']].set_visible(False)


def _draw_bars(axis: object, bars: list[tuple[str, float | None]], title: str, label: object) -> None:
    bars = [(name, value) for name, value in bars if value is not None]
    drawn = axis.bar(
        [name for name, _ in bars],
        [value for _, value in bars],
        color=[STAGE_COLORS.get(name, KEPT) for name, _ in bars],
    )
    axis.bar_label(drawn, [label(value) for _, value in bars], fontsize=9, padding=2)
    axis.set_title(title, fontsize=10)
    axis.tick_params(axis='x', rotation=30)
    axis.margins(y=0.12)
    axis.spines[['top', 'right']].set_visible(False)
