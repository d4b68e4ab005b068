"""The picture of additivity: predicted against true distortion."""

from __future__ import annotations

import io
from pathlib import Path

from mmprune.distortion.additivity import Additivity
from mmprune.storage.files import write_atomically


def plot_additivity(result: Additivity, path: str | Path) -> Path:
    """Scatter of the true joint distortion over the sum of the layers' own, coloured by the share removed.

    Args:
        result: What :func:`mmprune.distortion.check_additivity` found.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.6), layout='constrained')
    FigureCanvasAgg(figure)
    axis, summary = figure.subplots(), result.summary()
    points = axis.scatter(result.predicted, result.measured, c=[100 * share for share in result.removed], s=18)
    low = min(value for value in (*result.predicted, *result.measured) if value > 0)
    high = max(*result.predicted, *result.measured)
    axis.plot([low, high], [low, high], color='#9aa7b0', linewidth=1, label='equal')
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return write_atomically(path, buffer.getvalue())
