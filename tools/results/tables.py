"""Result tables of a folder of configs: cells.json says what there is, results.json what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

SIZES = {
    'params': 'parameters left',
    'flops': 'multiply-adds left (at {shape})',
    'nonzero_params': 'non-zero parameters left',
    'target_ms': 'milliseconds in the pruned part, dense and cut network timed in turn',
}
MEANS = {'Random': ('random_1', 'random_2', 'random_3')}


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    return ''.join(f'| {" | ".join(row)} |\n' for row in (head, ['---'] * len(head), *rows))


class Results:
    """The cells of one folder, ``table/criterion/ratio/column``, and what was measured of them."""

    def __init__(self, folder: Path) -> None:
        """Both files of a folder; results of other folders where cells.json says that they belong here.

        Args:
            folder: Holds cells.json, and results.json if anything was run.
        """
        content = json.loads((folder / 'cells.json').read_text())
        self.folder, self.columns, self.tables = folder, content['columns'], content['tables']
        self.measured = _read(folder)
        cells = {cell['cell']: cell for cell in content['cells']}
        for name, spec in self.tables.items():
            shown = spec.get('cells', name)
            if shown != name:  # a table that shows other columns of another's cells
                cells |= _renamed(cells, shown, name)
                self.measured |= _renamed(self.measured, shown, name)
            for key, source in spec.get('borrowed', {}).items():  # run for another folder's table
                other, _, there = source.partition('/')
                cells[key] = {}
                if run := _read(folder.parent / other).get(there):
                    self.measured[key] = run
        self.cells = cells

    def rows(self, table: str) -> list[tuple[str, str]]:
        """(criterion, ratio) in the order of the cells."""
        return list(dict.fromkeys(tuple(name.split('/')[1:3]) for name in self.cells if name.startswith(f'{table}/')))

    def runs(self, *parts: str) -> list[dict]:
        """All runs of a table, of one of its rows, or of a cell: one, or one per seed."""
        prefix = '/'.join((*parts, ''))
        return [run for name, run in self.measured.items() if f'{name}/'.startswith(prefix)]

    def averaged(self, table: str, criterion: str) -> tuple[str, ...]:
        """The criteria whose mean a row is, if it is one."""
        names = MEANS.get(criterion, ())
        return names if any(name.startswith(f'{table}/{names[0]}/') for name in self.cells if names) else ()

    def value(self, table: str, criterion: str, ratio: str, column: str) -> float | None:
        """The measured metric: of the cell's last stage; of the row's 'pruned' stage for 'cut'; or a mean of cells."""
        metric = self.tables[table]['metric']
        if criteria := self.averaged(table, criterion):
            found = [self.value(table, name, ratio, column) for name in criteria]
            return None if None in found else mean(found)
        if column == 'cut':
            stages = [stage for run in self.runs(table, criterion, ratio) for stage in run['stages']]
            return next((stage['metrics'].get(metric) for stage in stages if stage['name'] == 'pruned'), None)
        values = self.values(table, criterion, ratio, column)
        return mean(values) if values else None

    def values(self, table: str, *cell: str) -> list[float]:
        """The metric after the last stage of every run of a cell."""
        metric, stages = self.tables[table]['metric'], [run['stages'][-1] for run in self.runs(table, *cell)]
        return [stage['metrics'][metric] for stage in stages if metric in stage['metrics']]

    def text(self, table: str, *cell: str) -> str:
        """'measured · *published*'; 'not run' where the cell was not."""
        name, value = '/'.join((table, *cell)), self.value(table, *cell)
        published, seeds = (self.cells.get(name, {}).get(key) for key in ('published', 'seeds'))
        if value is None and published is None and name not in self.cells:
            return ''
        digits = self.tables[table].get('digits', 2)
        text = 'not run' if value is None else f'{value:.{digits}f}'
        if seeds and value is not None:
            values = self.values(table, *cell)
            text += f' ± {stdev(values):.{digits}f}' if len(values) > 1 else ''
            text += '' if len(values) == len(seeds) else f' ({len(values)} of {len(seeds)} seeds)'
        return text if published is None else f'{text} · *{published:.{digits}f}*'

    def size(self, table: str, criterion: str, ratio: str, key: str) -> str:
        """Parameters or FLOPs that are left."""
        runs = self.runs(table, (self.averaged(table, criterion) or (criterion,))[0], ratio)
        stages = [run['stages'] for run in runs if key in run['stages'][-1]]
        if not stages:
            return ''
        dense, last = (round(mean(of[index][key] for of in stages)) for index in (0, -1))
        return f'{last:,} ({100 * last / dense:.1f} %)'


def _read(folder: Path) -> dict[str, dict]:
    path = folder / 'results.json'
    return json.loads(path.read_text()) if path.exists() else {}


def _renamed(found: Mapping[str, dict], table: str, name: str) -> dict[str, dict]:
    return {f'{name}/{key.partition("/")[2]}': value for key, value in found.items() if key.startswith(f'{table}/')}


def render(results: Results, table: str, criteria: Sequence[str] = (), ratios: Sequence[str] = ()) -> str:
    """One table in Markdown, with what its figures are measured on."""
    spec, runs = results.tables[table], results.runs(table)
    names = {**results.columns, **spec.get('columns', {})}
    lines = {
        (criterion, ratio): [results.text(table, criterion, ratio, column) for column in results.columns]
        for criterion, ratio in results.rows(table)
        if (not criteria or criterion in criteria) and (not ratios or ratio in ratios)
    }
    shown = [
        i
        for i, column in enumerate(results.columns)
        if any(line[i] for line in lines.values()) and column in spec.get('shown', results.columns)
    ]
    sizes = spec.get('sizes', ('params', 'flops')) if runs else ()
    head = [spec.get('rows', 'criterion'), spec.get('ratios', 'ratio'), *(list(names.values())[i] for i in shown)]
    head += [SIZES[key].format(shape='×'.join(map(str, runs[0]['input_shape'][1:]))) for key in sizes]
    rows = []
    for (criterion, ratio), line in lines.items():
        label = spec.get('labels', {}).get(criterion, criterion)
        label = 'mean of the three' if results.averaged(table, criterion) else label
        left = [results.size(table, criterion, ratio, key) for key in sizes]
        rows.append([label, ratio, *(line[i] for i in shown), *left])
    return '\n'.join([heading(results, table), '', markdown(head, rows), *costs(results, table)])


def costs(results: Results, table: str) -> list[str]:
    """Costs of the training on synthetic images: images, iterations, minutes."""
    lines = []
    for name, run in results.measured.items():
        if name.startswith(f'{table}/') and 'training' in run:
            _, criterion, ratio, column, *_ = name.split('/')
            made, minutes = run.get('synthesis'), run['stages'][-1]['seconds'] / 60
            images = f'{made["images"]} images in {made["seconds"] / 60:.1f} min, ' if made else ''
            label = f'{criterion} {ratio}, {results.columns[column]}'
            lines.append(f'{label}: {images}{run["training"]} in {minutes:.1f} min')
    made = any('synthesis' in run for run in results.runs(table))
    return [f'What it took, on one core that others used too: {"; ".join(lines)}.', ''] if lines and made else []


def heading(results: Results, table: str) -> str:
    """Network, unit, images, dense figures, versions; or what a run needs."""
    spec, runs = results.tables[table], results.runs(table)
    published = any('published' in cell for name, cell in results.cells.items() if name.startswith(f'{table}/'))
    text = f'**{spec["title"]}**, {spec["unit"]} on {spec["images"]:,} test images; measured'
    text += ' · *published*.' if published else '.'
    dense = [] if spec.get('dense') is None else [f'*{spec["dense"]:.2f}*']
    if runs and spec.get('trained', True):
        dense.insert(0, f'{runs[0]["stages"][0]["metrics"][spec["metric"]]:.{spec.get("digits", 2)}f}')
    text += f' Dense: {" · ".join(dense)}.' if dense else ''
    cells = f'configs/{results.folder.name}/cells.json'
    command = f"`python tools/results/run_cells.py {cells} --only '{spec.get('cells', table)}/*'`"
    if not runs:
        needs = ', '.join(f'`{need}`' for need in spec['needs'])
        return f'{text} Not run here: needs {needs}. To run it: {command}.'
    if wrong := {run['test_images'] for run in runs} - {spec['images']}:
        raise ValueError(f'{table}: measured on {wrong} images, cells.json says {spec["images"]}')
    text += f' Run with {", ".join(sorted({_versions(run) for run in runs}))}, by {command}.'
    reasons = {reason for run in runs for reason in run.get('only_sliced', ())}
    unusual = sorted(reason for reason in reasons if not reason.endswith('works on the whole network'))
    return ' '.join([text, *(f'Some groups: {reason}.' for reason in unusual)])


def _versions(run: Mapping) -> str:
    return ' '.join(version for version in run['versions'].split() if version.startswith(('mmprune=', 'torch=')))
