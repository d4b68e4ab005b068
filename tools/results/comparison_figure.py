"""Draw docs/images/comparison.svg: what every method of the comparison leaves of the accuracy, from its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from svg import ACCENT, GONE, INK, KEPT, PALE, Drawing

if TYPE_CHECKING:
    from make_readme import Results

PATH = Path(__file__).parents[2] / 'docs/images/comparison.svg'
NAMES, SCALE, ROW = 350, 3.6, 22  # width of the labels, pixels per point of accuracy, height of a line


def draw(results: Results, table: str = 'methods') -> str:
    """One panel per ratio, one bar per method that was run: grey what the cut left, in colour what it ends with."""
    spec = results.tables[table]
    rows = [
        (name, ratio)
        for name, ratio in results.rows(table)
        if results.value(table, name, ratio, 'final') is not None and not name.endswith('-params')
    ]
    ratios = list(dict.fromkeys(ratio for _, ratio in rows))
    picture = Drawing(NAMES + 470, 40 + ROW * len(rows) + 50 * max(1, len(ratios)), 'All methods on one network')
    y = 30
    for ratio in ratios:
        runs = results.runs(table, next(name for name, r in rows if r == ratio), ratio)
        dense, last = runs[0]['stages'][0], runs[0]['stages'][-1]
        accuracy = dense['metrics'][spec['metric']]
        picture.text(
            16,
            y,
            f'{spec["title"]}: {100 * last["flops"] / dense["flops"]:.1f} % of the multiply-adds left',
            'start',
            bold=True,
        )
        top = y + 8
        for name in sorted(
            (name for name, r in rows if r == ratio), key=lambda name: -results.value(table, name, ratio, 'final')
        ):
            y += ROW
            final, cut = (results.value(table, name, ratio, column) for column in ('final', 'cut'))
            label = spec['labels'].get(name, name)
            fill = GONE if label.startswith('for comparison') else KEPT
            picture.box(NAMES, y - 12, SCALE * 100, 15, PALE)
            picture.box(NAMES, y - 12, SCALE * final, 15, fill)
            if cut is not None:
                picture.line([(NAMES + SCALE * cut, y - 12), (NAMES + SCALE * cut, y + 3)], '#ffffff', 2)
            picture.text(NAMES - 8, y, label.removeprefix('for comparison: '), 'end', size=12)
            picture.text(NAMES + SCALE * 100 + 8, y, f'{final:.2f}', 'start', size=12)
        picture.line([(NAMES + SCALE * accuracy, top), (NAMES + SCALE * accuracy, y + 6)], ACCENT, 1.5, dashed=True)
        picture.text(NAMES + SCALE * accuracy, y + 18, f'dense {accuracy:.2f}', fill=INK, size=11)
        y += 50
    picture.text(
        16,
        y - 10,
        'Bars: top-1 accuracy in %; white marks: right after the cut; grey bars use real images.',
        'start',
        size=11,
    )
    return str(picture)
