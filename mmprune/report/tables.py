"""Numbers and tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence


def share(part: float, whole: float) -> str:
    """A part in per cent; a dash where there is no whole."""
    return f'{100 * part / whole:.1f} %' if whole else '–'


def human(count: float) -> str:
    """A count with three digits and a unit: 11.2 M."""
    for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
        if abs(count) >= size:
            return f'{count / size:.3g} {unit}'
    return f'{count:.0f}'


def table(rows: Sequence[Sequence[str]]) -> str:
    """Plain text with aligned columns; the first row is the head."""
    sizes = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['  '.join(cell.ljust(size) for cell, size in zip(row, sizes)).rstrip() for row in rows]
    return '\n'.join([lines[0], '  '.join('─' * size for size in sizes), *lines[1:]])
