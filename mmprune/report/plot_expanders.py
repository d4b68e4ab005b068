"""The picture of a network's graphs: how dense, how regular, how expanding."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from mmprune.expanders.analysis import LayerGraph
from mmprune.storage.files import write_atomically

LEFT, RIGHT, GREY = '#2f6f8f', '#d1605e', '#9aa7b0'


def plot_expanders(layers: Sequence[LayerGraph], path: str | Path) -> Path:
    """Density, channels without an edge, second singular value against the Ramanujan bound, and expansion by layer.

    Args:
        layers: At least one layer.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True).flat
    graphs, at = [layer.graph for layer in layers], range(len(layers))
    panels[0].bar(at, [100 * layer.density for layer in layers], color=LEFT)
    panels[0].set(title='% of the weights that stay')
    panels[1].bar(
        [i - 0.2 for i in at],
        [100 * g.dead_outputs / g.outputs for g in graphs],
        0.4,
        color=RIGHT,
        label='outputs without input',
    )
    panels[1].bar(
        [i + 0.2 for i in at],
        [100 * g.unread_inputs / g.inputs for g in graphs],
        0.4,
        color=LEFT,
        label='inputs that nothing reads',
    )
    panels[1].set(title='% of the channels without an edge', ylim=(0, None))
    panels[1].legend(frameon=False, fontsize=8)
    panels[2].plot(at, [g.sigma2 for g in graphs], 'o', color=LEFT, label='σ2')
    panels[2].plot(at, [g.ramanujan_bound for g in graphs], '_', color=RIGHT, markersize=12, label='Ramanujan bound')
    panels[2].set(title='second singular value (smaller is better)')
    panels[2].legend(frameon=False, fontsize=8)
    panels[3].bar(at, [g.expansion for g in graphs], color=LEFT)
    panels[3].set(title='estimated expansion (larger is better)')
    step = max(1, len(layers) // 24)
    for axis in panels:
        axis.spines[['top', 'right']].set_visible(False)
        axis.set_xticks(list(at)[::step], [layer.name for layer in layers][::step], rotation=90, fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return write_atomically(path, buffer.getvalue())
