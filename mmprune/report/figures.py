"""Pictures drawn without a display and written whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from mmprune.storage.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure that needs no display; Matplotlib is imported by the first one.

    Args:
        width: In inches.
        height: In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG; an earlier file is replaced only when the new one is complete."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    return write_atomically(path, buffer.getvalue())
