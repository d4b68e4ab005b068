"""docs/images/comparison.svg: what every method of the comparison leaves of the accuracy, from its results."""

from __future__ import annotations

from html import escape

from tables import Results

KEPT, GONE, ACCENT, INK, PALE = '#2f6f8f', '#9aa7b0', '#d97a00', '#1c2529', '#e6eaec'
NAMES, SCALE, ROW = 350, 3.6, 22  # width of the labels, pixels per point of accuracy, height of a line


def draw(results: Results, table: str = 'methods') -> str:
    """One panel per ratio, one bar per method that was run: grey what the cut left, in colour what it ends with."""
    ratios: dict[str, list[str]] = {}
    for name, ratio in results.rows(table):
        if results.value(table, name, ratio, 'final') is not None and not name.endswith('-params'):
            ratios.setdefault(ratio, []).append(name)
    y, parts = 30, []
    for ratio, names in ratios.items():
        parts += _panel(results, table, ratio, names, y)
        y += ROW * len(names) + 50
    note = 'Bars: top-1 accuracy in %; white marks: right after the cut; grey bars use real images.'
    parts.append(_text(16, y - 10, note, 'start', size=11))
    width, height = NAMES + 470, 10 + y + (0 if ratios else 50)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="system-ui,sans-serif" font-size="13">'
    )
    ground = f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>'
    return '\n'.join([head, '<title>All methods on one network</title>', ground, *parts, '</svg>', ''])


def _panel(results: Results, table: str, ratio: str, names: list[str], y: int) -> list[str]:
    spec, (dense, *_, last) = results.tables[table], results.runs(table, names[0], ratio)[0]['stages']
    accuracy, x = dense['metrics'][spec['metric']], NAMES + SCALE * dense['metrics'][spec['metric']]
    title = f'{spec["title"]}: {100 * last["flops"] / dense["flops"]:.1f} % of the multiply-adds left'
    parts, top = [_text(16, y, title, 'start', bold=True)], y + 8
    for name in sorted(names, key=lambda name: -results.value(table, name, ratio, 'final')):
        y += ROW
        final, cut = (results.value(table, name, ratio, column) for column in ('final', 'cut'))
        label = spec['labels'].get(name, name)
        parts.append(_bar(y - 12, SCALE * 100, PALE))
        parts.append(_bar(y - 12, SCALE * final, GONE if label.startswith('for comparison') else KEPT))
        if cut is not None:
            parts.append(_line(NAMES + SCALE * cut, y - 12, y + 3, '#ffffff', 2))
        parts.append(_text(NAMES - 8, y, label.removeprefix('for comparison: '), 'end', size=12))
        parts.append(_text(NAMES + SCALE * 100 + 8, y, f'{final:.2f}', 'start', size=12))
    return [*parts, _line(x, top, y + 6, ACCENT, 1.5, True), _text(x, y + 18, f'dense {accuracy:.2f}', size=11)]


def _bar(y: float, width: float, fill: str) -> str:
    return f'<rect x="{NAMES:g}" y="{y:g}" width="{width:g}" height="15" rx="3" fill="{fill}"/>'


def _line(x: float, top: float, end: float, stroke: str, width: float, dashed: bool = False) -> str:
    more = ' stroke-dasharray="4 3"' if dashed else ''
    points = f'{x:.1f},{top:.1f} {x:.1f},{end:.1f}'
    return f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="{width:g}"{more}/>'


def _text(x: float, y: float, text: str, anchor: str = 'middle', bold: bool = False, size: int = 13) -> str:
    style = f'text-anchor="{anchor}" fill="{INK}" font-size="{size}"' + (' font-weight="600"' if bold else '')
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text, quote=False)}</text>'
