"""A curve as an SVG picture, for pages that load nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 200, 52, 24, 8
MOST_POINTS = 400


def svg_curve(points: Sequence[tuple[float, float]]) -> str:
    """Draw one curve.

    Args:
        points: At least one (x, y), by rising x; of very many, every n-th is drawn.
    """
    step = max(1, len(points) // MOST_POINTS)
    points = [*points[::step], *(points[-1:] if (len(points) - 1) % step else [])]
    (x_low, x_high), (y_low, y_high) = (_span([point[axis] for point in points]) for axis in (0, 1))

    def place(x: float, y: float) -> str:
        right, height = WIDTH - LEFT - 8, HEIGHT - BOTTOM - TOP
        return (
            f'{LEFT + right * (x - x_low) / (x_high - x_low):.1f},{TOP + height * (y_high - y) / (y_high - y_low):.1f}'
        )

    line = ' '.join(place(x, y) for x, y in points)
    base = HEIGHT - BOTTOM
    texts = ''.join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(f"{value:.4g}")}</text>'
        for x, y, anchor, value in (
            (LEFT - 4, TOP + 10, 'end', y_high),
            (LEFT - 4, base, 'end', y_low),
            (LEFT, HEIGHT - 6, 'start', x_low),
            (WIDTH - 8, HEIGHT - 6, 'end', x_high),
        )
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="11" fill="currentColor">'
        f'<path d="M{LEFT},{TOP}V{base}H{WIDTH - 8}" fill="none" stroke="#9aa7b0"/>'
        f'<polyline points="{line}" fill="none" stroke="#2f6f8f" stroke-width="1.5"/>{texts}</svg>'
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
