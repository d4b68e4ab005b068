"""Result tables of a folder of configs: cells.json says what there is, results.json what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

SIZES = {
    'params': 'parameters left',
    'flops': 'multiply-adds left (at {shape})',
    'nonzero_params': 'non-zero parameters left',
    'target_ms': 'milliseconds in the pruned part, dense and cut network timed in turn',
}
MEANS = {'Random': ('random_1', 'random_2', 'random_3')}


class Results:
    """The cells of one folder and what was measured of them."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / 'cells.json').read_text())
        path = folder / 'results.json'
        self.folder, self.columns, self.tables = folder, content['columns'], content['tables']
        self.measured = json.loads(path.read_text()) if path.exists() else {}
        self.published = {cell['cell']: cell['published'] for cell in content['cells'] if 'published' in cell}
        self.seeds = {cell['cell']: len(cell['seeds']) for cell in content['cells'] if 'seeds' in cell}
        self.names = [cell['cell'] for cell in content['cells']]
        for name, spec in self.tables.items():  # a table that shows other columns of another's cells
            self._show_again(spec.get('cells', name), name)
            for key, source in spec.get('borrowed', {}).items():
                self._borrow(key, source)

    def _borrow(self, key: str, source: str) -> None:
        """Take a cell from another folder's results, where it was run."""
        other, _, name = source.partition('/')
        path = self.folder.parent / other / 'results.json'
        found = json.loads(path.read_text()).get(name) if path.exists() else None
        self.names.append(key)
        if found is not None:
            self.measured[key] = found

    def _show_again(self, table: str, name: str) -> None:
        if table != name:
            for found in (self.measured, self.published, self.seeds):
                found |= {
                    f'{name}/{key.partition("/")[2]}': value
                    for key, value in found.items()
                    if key.startswith(f'{table}/')
                }
            self.names += [f'{name}/{key.partition("/")[2]}' for key in self.names if key.startswith(f'{table}/')]

    def rows(self, table: str) -> list[tuple[str, str]]:
        """(criterion, ratio) in the order of the cells."""
        return list(dict.fromkeys(tuple(name.split('/')[1:3]) for name in self.names if name.startswith(f'{table}/')))

    def averaged(self, table: str, criterion: str) -> tuple[str, ...]:
        """The criteria whose mean a row is, if it is one."""
        names = MEANS.get(criterion, ())
        return names if any(name.startswith(f'{table}/{names[0]}/') for name in self.names if names) else ()

    def of_seeds(self, name: str) -> list[dict]:
        """The runs of a cell: one, or one per seed."""
        return [run for key, run in self.measured.items() if key == name or key.startswith(f'{name}/seed')]

    def value(self, table: str, criterion: str, ratio: str, column: str) -> float | None:
        """The measured metric: of the cell's last stage; of the row's 'pruned' stage for 'cut'; or a mean of cells."""
        if criteria := self.averaged(table, criterion):
            found = [self.value(table, name, ratio, column) for name in criteria]
            return None if None in found else mean(found)
        if column == 'cut':
            stages = [stage for run in self.runs(table, criterion, ratio) for stage in run['stages']]
            stage = next((stage for stage in stages if stage['name'] == 'pruned'), None)
        else:
            values = self.of_last_stage(f'{table}/{criterion}/{ratio}/{column}', self.tables[table]['metric'])
            return mean(values) if values else None
        return None if stage is None else stage['metrics'].get(self.tables[table]['metric'])

    def of_last_stage(self, name: str, metric: str) -> list[float]:
        """The metric of every run of a cell."""
        return [
            run['stages'][-1]['metrics'][metric]
            for run in self.of_seeds(name)
            if metric in run['stages'][-1]['metrics']
        ]

    def runs(self, table: str, criterion: str = '', ratio: str = '') -> list[dict]:
        """All runs of a table, or of one of its rows."""
        prefix = f'{table}/{criterion}/{ratio}/' if ratio else f'{table}/'
        return [run for name, run in self.measured.items() if name.startswith(prefix)]

    def cell(self, table: str, criterion: str, ratio: str, column: str) -> str:
        """'measured · *published*'; 'not run' where the cell was not."""
        name = f'{table}/{criterion}/{ratio}/{column}'
        value, published = self.value(table, criterion, ratio, column), self.published.get(name)
        if value is None and published is None and name not in self.names:
            return ''
        digits = self.tables[table].get('digits', 2)
        text = 'not run' if value is None else f'{value:.{digits}f}'
        if name in self.seeds and value is not None:
            values, wanted = self.of_last_stage(name, self.tables[table]['metric']), self.seeds[name]
            spread = f' ± {stdev(values):.{digits}f}' if len(values) > 1 else ''
            text += spread + ('' if len(values) == wanted else f' ({len(values)} of {wanted} seeds)')
        return text if published is None else f'{text} · *{published:.{digits}f}*'

    def size(self, table: str, criterion: str, ratio: str, key: str) -> str:
        """Parameters or FLOPs that are left."""
        runs = [
            run
            for run in self.runs(table, (self.averaged(table, criterion) or (criterion,))[0], ratio)
            if key in run['stages'][-1]
        ]
        if not runs:
            return ''
        dense, last = (round(mean(run['stages'][index][key] for run in runs)) for index in (0, -1))
        return f'{last:,} ({100 * last / dense:.1f} %)'


def render(results: Results, table: str, criteria: Sequence[str] = (), ratios: Sequence[str] = ()) -> str:
    """One table in Markdown, with what its figures are measured on."""
    spec, runs = results.tables[table], results.runs(table)
    rows = [
        (criterion, ratio)
        for criterion, ratio in results.rows(table)
        if (not criteria or criterion in criteria) and (not ratios or ratio in ratios)
    ]
    cells = [[results.cell(table, *row, column) for column in results.columns] for row in rows]
    shown = [
        i
        for i, column in enumerate(results.columns)
        if any(line[i] for line in cells) and column in spec.get('shown', results.columns)
    ]
    sizes = {key: SIZES[key] for key in spec.get('sizes', ('params', 'flops'))}
    titles = [list({**results.columns, **spec.get('columns', {})}.values())[i] for i in shown]
    head = [spec.get('rows', 'criterion'), spec.get('ratios', 'ratio'), *titles]
    if runs:
        shape = '×'.join(map(str, runs[0]['input_shape'][1:]))
        head += [title.format(shape=shape) for title in sizes.values()]
    lines = [head, ['---'] * len(head)]
    for row, line in zip(rows, cells):
        name = 'mean of the three' if results.averaged(table, row[0]) else spec.get('labels', {}).get(row[0], row[0])
        left = [results.size(table, *row, key) for key in sizes] if runs else []
        lines.append([name, row[1], *(line[i] for i in shown), *left])
    text = [heading(results, table), '', *(f'| {" | ".join(line)} |' for line in lines), '']
    return '\n'.join([*text, *costs(results, table)])


def costs(results: Results, table: str) -> list[str]:
    """Costs of the training on synthetic images: images, iterations, minutes."""
    lines = []
    for name, run in results.measured.items():
        last = run['stages'][-1]
        if not name.startswith(f'{table}/') or 'training' not in run:
            continue
        row, column = name.split('/')[1:3], name.split('/')[3]
        made = run.get('synthesis', {})
        images = f'{made["images"]} images in {made["seconds"] / 60:.1f} min, ' if made else ''
        lines.append(
            f'{" ".join(row)}, {results.columns[column]}: {images}{run["training"]} in {last["seconds"] / 60:.1f} min'
        )
    made = any('synthesis' in run for name, run in results.measured.items() if name.startswith(f'{table}/'))
    return [f'What it took, on one core that others used too: {"; ".join(lines)}.', ''] if lines and made else []


def heading(results: Results, table: str) -> str:
    """Network, unit, images, dense figures, versions; or what a run needs."""
    spec, runs = results.tables[table], results.runs(table)
    published = any(name.startswith(f'{table}/') for name in results.published)
    parts = [
        f'**{spec["title"]}**, {spec["unit"]} on {spec["images"]:,} test images',
        'measured · *published*' if published else 'measured',
    ]
    dense = [f'*{spec["dense"]:.2f}*'] if spec.get('dense') is not None else []
    if runs:
        wrong = {run['test_images'] for run in runs} - {spec['images']}
        if wrong:
            raise ValueError(f'{table}: measured on {wrong} images, cells.json says {spec["images"]}')
        if spec.get('trained', True):
            dense.insert(0, f'{runs[0]["stages"][0]["metrics"][spec["metric"]]:.{spec.get("digits", 2)}f}')
    text = f'{"; ".join(parts)}. Dense: {" · ".join(dense)}.' if dense else f'{"; ".join(parts)}.'
    cells = f'configs/{results.folder.name}/cells.json'
    command = f"`python tools/results/run_cells.py {cells} --only '{spec.get('cells', table)}/*'`"
    if not runs:
        needs = ', '.join(f'`{need}`' for need in spec['needs'])
        return f'{text} Not run here: needs {needs}. To run it: {command}.'
    sliced = sorted(
        {
            reason
            for run in runs
            for reason in run.get('only_sliced', ())
            if not reason.endswith('works on the whole network')
        }
    )  # as it should
    versions = ', '.join(
        sorted({' '.join(v for v in run['versions'].split() if v.startswith(('mmprune=', 'torch='))) for run in runs})
    )
    return ' '.join([text, f'Run with {versions}, by {command}.', *(f'Some groups: {reason}.' for reason in sliced)])
