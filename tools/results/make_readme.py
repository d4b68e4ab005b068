"""Rewrite the result tables (and one figure) of README.md, configs/*/README.md and docs/ from what runs wrote down.

A table stands between two marks, and says which cells it shows; outside configs/ the folder is named too:

    <!-- table lbyl/resnet56_cifar10 criterion=L2Norm ratio=0.3,0.5 -->
    <!-- end of table -->
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import comparison_figure
import file_tables
from tables import Results, render

ROOT = Path(__file__).parents[2]
MARKS = re.compile(r'(<!-- table (\S+)((?: \w+=\S+)*) -->\n).*?(<!-- end of table -->)', re.DOTALL)
FIGURE = ROOT / 'docs/images/comparison.svg'
#: Tables that are not made of cells.
OTHERS = {
    'docs/detector_speed': lambda: file_tables.speeds('docs/detector_speed.json'),
    'similarity': lambda: file_tables.similarity('configs/redundancy_graph/similarity.json'),
    'tests/soak': lambda: file_tables.soak('tests/soak.json') + '\n' + file_tables.memory('tests/memory.json'),
}


def updated(path: Path) -> str:
    """The text of a page with all its tables written anew."""

    def replace(match: re.Match) -> str:
        begin, name, filters, end = match.groups()
        if name in OTHERS:
            return f'{begin}{OTHERS[name]()}{end}'
        folder, _, table = name.rpartition('/')
        chosen = dict(pair.split('=') for pair in filters.split())
        criteria, ratios = (chosen[key].split(',') if key in chosen else () for key in ('criterion', 'ratio'))
        results = Results(ROOT / 'configs' / folder if folder else path.parent)
        return f'{begin}{render(results, table, criteria, ratios)}{end}'

    return MARKS.sub(replace, path.read_text())


def texts() -> dict[Path, str]:
    """Every page and the figure, as they should be."""
    pages = [ROOT / 'README.md', *sorted(ROOT.glob('configs/*/README.md')), *sorted(ROOT.glob('docs/**/*.md'))]
    figure = comparison_figure.draw(Results(ROOT / 'configs/comparison'))
    return {**{path: updated(path) for path in pages}, FIGURE: figure}


def write(found: dict[Path, str], check: bool, tool: str) -> None:
    """Write what is not current, or with ``check`` only name it and exit with 1."""
    stale = {path: text for path, text in found.items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(f'{path.relative_to(ROOT)}: ' + (f'not current; run python {tool}' if check else 'written'))
        if not check:
            path.write_text(text)
    sys.exit(int(check and bool(stale)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='change nothing; exit 1 if a page is not current')
    write(texts(), parser.parse_args().check, 'tools/results/make_readme.py')


if __name__ == '__main__':
    main()
