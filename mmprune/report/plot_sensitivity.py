"""Which layers a network can do without, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def plot_sensitivity(layers: Sequence[dict], path: str | Path) -> None:
    """A map of groups by ratios, darker where the output changes more.

    Args:
        layers: Rows with ``name``, ``width``, ``ratios`` and ``distortion`` (relative, one per ratio).
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    values = np.array([row['distortion'] for row in layers])
    figure = Figure(figsize=(5 + 0.4 * values.shape[1], 1.5 + 0.22 * len(layers)), layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(np.log10(np.clip(values, 1e-6, None)), aspect='auto', cmap='magma_r', vmin=-4, vmax=0)
    axes.set_xticks(range(values.shape[1]), [f'{ratio:g}' for ratio in layers[0]['ratios']])
    axes.set_yticks(range(len(layers)), [f'{row["name"]} ({row["width"]})' for row in layers], fontsize=7)
    axes.set_xlabel('share of the channels removed')
    axes.set_title('change of the output when one group is cut', fontsize=10)
    bar = figure.colorbar(image, ax=axes, ticks=[-4, -3, -2, -1, 0])
    bar.ax.set_yticklabels(['0.01 %', '0.1 %', '1 %', '10 %', '100 %'])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
