"""Pictures as SVG text: the few shapes that the documentation's drawings are made of."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

KEPT, GONE, ACCENT, INK, PALE = '#2f6f8f', '#9aa7b0', '#d97a00', '#1c2529', '#e6eaec'


class Drawing:
    """Shapes on a white ground; coordinates in pixels from the upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        """See the class; the title is for those who cannot see the picture."""
        self.size, self.title, self.parts = (width, height), title, []

    def __str__(self) -> str:
        width, height = self.size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" font-family="system-ui,sans-serif" font-size="13">'
        )
        arrow = (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0L8,4L0,8z" fill="{INK}"/></marker></defs>'
        )
        ground = f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>'
        return '\n'.join([head, f'<title>{escape(self.title)}</title>', arrow, ground, *self.parts, '</svg>', ''])

    def box(
        self, x: float, y: float, width: float, height: float, fill: str = KEPT, gone: bool = False, radius: float = 3
    ) -> None:
        """A filled box, or a dashed outline for what is gone."""
        style = f'fill="none" stroke="{GONE}" stroke-dasharray="4 3"' if gone else f'fill="{fill}"'
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" {style}/>')

    def dot(self, x: float, y: float, radius: float = 7, fill: str = KEPT, gone: bool = False) -> None:
        """A filled circle, or a dashed one."""
        style = f'fill="#ffffff" stroke="{GONE}" stroke-dasharray="3 2"' if gone else f'fill="{fill}"'
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" {style}/>')

    def line(
        self,
        points: Iterable[tuple[float, float]],
        stroke: str = INK,
        width: float = 1.5,
        arrow: bool = False,
        dashed: bool = False,
    ) -> None:
        """Straight pieces through points."""
        path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)
        more = (' marker-end="url(#tip)"' if arrow else '') + (' stroke-dasharray="4 3"' if dashed else '')
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"{more}/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = 'middle',
        fill: str = INK,
        bold: bool = False,
        size: int = 13,
    ) -> None:
        """One line of text; ``y`` is its base line."""
        weight = ' font-weight="600"' if bold else ''
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}" font-size="{size}"{weight}>'
            f'{escape(text, quote=False)}</text>'
        )
