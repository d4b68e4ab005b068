"""The pictures of a run, of a network's layers and graphs, and of additivity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmprune.distortion.additivity import Additivity
from mmprune.expanders.analysis import LayerGraph
from mmprune.report.figures import new_figure, write_figure
from mmprune.report.report import Report
from mmprune.report.tables import human

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, RED, GREEN, GREY, PALE = '#2f6f8f', '#d1605e', '#3a9a5b', '#9aa7b0', '#d9dee2'
STAGE_COLORS = {'dense': GREY, 'pruned': RED, 'restored': BLUE, 'finetuned': GREEN}


def plot_report(report: Report, path: str | Path) -> Path:
    """Draw widths before and after per group, and metrics, parameters and FLOPs per stage.

    Args:
        report: A run with at least one stage.
        path: PNG to write.
    """
    keys = list(dict.fromkeys(key for stage in report.stages for key in stage.metrics))[:2]
    figure = new_figure(12, 4.6 + 0.03 * len(report.layers))
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
    return write_figure(figure, path)


def _draw_widths(axis: Axes, report: Report) -> None:
    rows = report.layers
    positions = range(len(rows))
    axis.bar(positions, [row.before for row in rows], color=PALE, width=0.85, label='removed')
    axis.bar(
        positions,
        [row.after for row in rows],
        width=0.85,
        label='kept',
        color=[GREY if row.reason and row.after == row.before else BLUE for row in rows],
    )
    if max((row.before for row in rows), default=1) > 8 * max(1, min((row.before for row in rows), default=1)):
        axis.set_yscale('log', base=2)
    step = max(1, len(rows) // 24)
    axis.set_xticks(list(positions)[::step], [row.name for row in rows][::step], rotation=90, fontsize=7)
    axis.set_title('units per group (grey: kept whole)', fontsize=10)
    axis.margins(x=0.01)
    axis.spines[['top', 'right']].set_visible(False)


def _draw_bars(
    axis: Axes, bars: Sequence[tuple[str, float | None]], title: str, label: Callable[[float], str]
) -> None:
    known = [(name, value) for name, value in bars if value is not None]
    drawn = axis.bar(
        [name for name, _ in known],
        [value for _, value in known],
        color=[STAGE_COLORS.get(name, BLUE) for name, _ in known],
    )
    axis.bar_label(drawn, [label(value) for _, value in known], fontsize=9, padding=2)
    axis.set_title(title, fontsize=10)
    axis.tick_params(axis='x', rotation=30)
    axis.margins(y=0.12)
    axis.spines[['top', 'right']].set_visible(False)


def plot_sensitivity(layers: Sequence[dict], path: str | Path) -> Path:
    """A map of groups by ratios, darker where the output changes more.

    Args:
        layers: Rows with ``name``, ``width``, ``ratios`` and ``distortion`` (relative, one per ratio).
        path: PNG to write.
    """
    values = np.array([row['distortion'] for row in layers])
    figure = new_figure(5 + 0.4 * values.shape[1], 1.5 + 0.22 * len(layers))
    axes = figure.subplots()
    image = axes.imshow(np.log10(np.clip(values, 1e-6, None)), aspect='auto', cmap='magma_r', vmin=-4, vmax=0)
    axes.set_xticks(range(values.shape[1]), [f'{ratio:g}' for ratio in layers[0]['ratios']])
    axes.set_yticks(range(len(layers)), [f'{row["name"]} ({row["width"]})' for row in layers], fontsize=7)
    axes.set_xlabel('share of the channels removed')
    axes.set_title('change of the output when one group is cut', fontsize=10)
    bar = figure.colorbar(image, ax=axes, ticks=[-4, -3, -2, -1, 0])
    bar.ax.set_yticklabels(['0.01 %', '0.1 %', '1 %', '10 %', '100 %'])
    return write_figure(figure, path)


def plot_expanders(layers: Sequence[LayerGraph], path: str | Path) -> Path:
    """Density, channels without an edge, second singular value against the Ramanujan bound, and expansion by layer.

    Args:
        layers: At least one layer.
        path: PNG to write.
    """
    figure = new_figure(12, 7)
    panels = figure.subplots(2, 2, sharex=True).flat
    graphs, at = [layer.graph for layer in layers], range(len(layers))
    panels[0].bar(at, [100 * layer.density for layer in layers], color=BLUE)
    panels[0].set(title='% of the weights that stay')
    panels[1].bar(
        [i - 0.2 for i in at],
        [100 * g.dead_outputs / g.outputs for g in graphs],
        0.4,
        color=RED,
        label='outputs without input',
    )
    panels[1].bar(
        [i + 0.2 for i in at],
        [100 * g.unread_inputs / g.inputs for g in graphs],
        0.4,
        color=BLUE,
        label='inputs that nothing reads',
    )
    panels[1].set(title='% of the channels without an edge', ylim=(0, None))
    panels[1].legend(frameon=False, fontsize=8)
    panels[2].plot(at, [g.sigma2 for g in graphs], 'o', color=BLUE, label='σ2')
    panels[2].plot(at, [g.ramanujan_bound for g in graphs], '_', color=RED, markersize=12, label='Ramanujan bound')
    panels[2].set(title='second singular value (smaller is better)')
    panels[2].legend(frameon=False, fontsize=8)
    panels[3].bar(at, [g.expansion for g in graphs], color=BLUE)
    panels[3].set(title='estimated expansion (larger is better)')
    step = max(1, len(layers) // 24)
    for axis in panels:
        axis.spines[['top', 'right']].set_visible(False)
        axis.set_xticks(list(at)[::step], [layer.name for layer in layers][::step], rotation=90, fontsize=7)
    return write_figure(figure, path)


def plot_additivity(result: Additivity, path: str | Path) -> Path:
    """Scatter of the true joint distortion over the sum of the layers' own, coloured by the share removed.

    Args:
        result: What :func:`mmprune.distortion.check_additivity` found.
        path: PNG to write.
    """
    figure = new_figure(5.6, 4.6)
    axis, summary = figure.subplots(), result.summary()
    points = axis.scatter(result.predicted, result.measured, c=[100 * share for share in result.removed], s=18)
    low = min(value for value in (*result.predicted, *result.measured) if value > 0)
    high = max(*result.predicted, *result.measured)
    axis.plot([low, high], [low, high], color=GREY, linewidth=1, label='equal')
    axis.set(
        xscale='log',
        yscale='log',
        xlabel="sum of the layers' own distortions",
        ylabel='distortion with all layers pruned',
    )
    axis.set_title(f'rank correlation {summary["spearman"]:.3f}, of logs {summary["pearson_log"]:.3f}', fontsize=10)
    axis.legend(frameon=False)
    axis.spines[['top', 'right']].set_visible(False)
    figure.colorbar(points, label='% of the units removed')
    return write_figure(figure, path)
