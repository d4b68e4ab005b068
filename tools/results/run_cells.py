"""Run the cells of a result table and collect what they measured in results.json beside the cells.

A cell is one command of tools/train.py, or several that differ by their seed. Runs whose report.json is there and was
made by the same config are not repeated; cells whose weights or data are missing are skipped. `make_readme.py` makes
tables of the results.

    python tools/results/run_cells.py configs/lbyl/cells.json --only 'lenet300*'
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from mmprune.storage.files import write_atomically
from mmprune.sweeps.cells import arguments_of, finished, flat, shell_command

WORK_DIRS = Path('work_dirs/cells')
RANDOM = ('random_1', 'random_2', 'random_3')


def load_cells(path: Path) -> dict[str, dict]:
    """The cells that can be run, by name ``table/criterion/ratio/column``, with config, options and needs.

    A cell with ``seeds`` is one run per seed: ``…/column/seedN``. A cell with a ``pruner`` replaces the config's own;
    its row names are then free text.
    """
    content, cells = json.loads(path.read_text()), {}
    for cell in content['cells']:
        if not cell.keys() & {'restorer', 'options', 'allocator', 'pruner'}:
            continue  # a published figure to which another cell's stage or a mean belongs
        table, criterion, ratio, _ = cell['cell'].split('/')
        options, parts = dict(cell.get('options', {})), {}
        if 'pruner' in cell:
            parts['pruning.pruner'] = cell['pruner']
        elif 'allocator' in cell:  # masks: rows differ by the allocator
            amount = {} if 'target' in cell['allocator'] else dict(ratio=float(ratio))
            parts['pruning.pruner.allocator'] = {**cell['allocator'], **amount}
        else:
            options = {'pruning.pruner.allocator.ratio': float(ratio), **options}
            parts['pruning.pruner.criterion'] = (
                dict(type='Random', variant=criterion) if criterion in RANDOM else dict(type=criterion)
            )
        if cell.get('restorer'):
            parts['pruning.restorer'] = cell['restorer']
        for key, part in parts.items():
            options |= {f'{key}._delete_': True, **flat(part, key)}
        config = cell.get('config', content['tables'][table]['config'])
        seeds = cell.get('seeds')
        runs = {f'{cell["cell"]}/seed{seed}': {'randomness.seed': seed} for seed in seeds or ()} or {cell['cell']: {}}
        for name, seeding in runs.items():
            cells[name] = dict(
                config=config,
                options=options | seeding,
                work_dir=WORK_DIRS / Path(config).parent.name / name,
                published=cell.get('published'),
                needs=content['tables'][table].get('needs', []),
            )
    return cells


def command(cell: dict) -> str:
    """The same run by hand."""
    return shell_command(arguments_of(cell['config'], cell['work_dir'], cell['options']))


def prepared(cell: dict) -> object:
    """The cell's config as tools/train.py would hand it to the runner."""
    from mmengine.config import Config

    from mmprune.engine import prepare_config

    cfg = Config.fromfile(cell['config'])
    cfg.merge_from_dict(dict(cell['options']))
    cfg.launcher, cfg.work_dir = 'none', str(cell['work_dir'])
    return prepare_config(cfg)


def earlier(folder: Path, text: str) -> dict | None:
    """The report of an earlier run of this very config, if it came to its end."""
    report = finished(folder, text)
    return report if report is not None and 'test_images' in report['extra'] else None


def run_cell(name: str, cell: dict, force: bool = False) -> tuple[str, dict | None, str]:
    """Run one cell in this process; its output goes to ``log.txt``. Returns name, report and what to say about it."""
    from mmprune.engine import run as run_config
    from mmprune.registry import DATASETS
    from mmprune.report.report import Report

    start, folder = time.perf_counter(), cell['work_dir']
    cfg = prepared(cell)
    report = None if force else earlier(folder, cfg.pretty_text)
    if report is not None:
        return name, report, 'as before'
    folder.mkdir(parents=True, exist_ok=True)
    cfg.experiment_name = f'{name.replace("/", "_")}_{time.time_ns()}'
    try:
        with open(folder / 'log.txt', 'w') as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            run_config(cfg)
            report = Report.load(folder / 'report.json')
            report.extra['test_images'] = len(DATASETS.build(cfg.test_dataloader.dataset))
            report.save(folder / 'report.json')
    except Exception as error:
        (folder / 'error.txt').write_text(traceback.format_exc())
        return name, None, f'FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
    return name, report.to_dict(), f'{time.perf_counter() - start:.0f} s'


def compact(cell: dict, report: dict) -> dict:
    """What the tables need of a report."""
    stages = [
        {
            'name': stage['name'],
            'metrics': {key: round(value, 4) for key, value in stage['metrics'].items()},
            **{key: stage[key] for key in ('params', 'flops', 'nonzero_params', 'seconds')},
            **({'target_ms': stage['target_ms']} if stage.get('target_ms') else {}),
        }
        for stage in report['stages']
    ]
    kept = sorted({row['repair'] for row in report['layers'] if row['repair'].startswith('only sliced')})
    published = {} if cell['published'] is None else {'published': cell['published']}
    return dict(
        **published,
        stages=stages,
        test_images=report['extra']['test_images'],
        input_shape=report['input_shape'],
        seed=report['seed'],
        **({'only_sliced': kept} if kept else {}),
        **({'synthesis': made} if (made := report['extra'].get('synthesis')) else {}),
        **({'training': last['note']} if (last := report['stages'][-1])['name'] == 'finetuned' else {}),
        command=command(cell),
        versions=' '.join(f'{key}={value}' for key, value in report['versions'].items()),
    )


def collect(path: Path, results: dict[str, dict]) -> None:
    """Write results.json, one line per cell, in the order of the cells."""
    lines = ',\n'.join(f'{json.dumps(name)}: {json.dumps(result)}' for name, result in results.items())
    write_atomically(path, f'{{\n{lines}\n}}\n')


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cells', type=Path, help='a cells.json; results.json is written beside it')
    parser.add_argument('--only', default='*', help='fnmatch pattern of cell names')
    parser.add_argument('--jobs', type=int, default=1, help='cells at a time, in processes of their own')
    parser.add_argument('--force', action='store_true', help='run cells again that are there already')
    parser.add_argument('--list', action='store_true', help='only print the commands')
    args = parser.parse_args()
    cells, path = load_cells(args.cells), args.cells.with_name('results.json')
    chosen = {name: cell for name, cell in cells.items() if fnmatch.fnmatchcase(name, args.only)}
    if args.list:
        print('\n'.join(command(cell) for name, cell in chosen.items()))
        return
    missing = {name: [need for need in cell['needs'] if not os.path.exists(need)] for name, cell in chosen.items()}
    for needs in sorted({', '.join(needs) for needs in missing.values() if needs}):
        print(
            f'not run, because {needs} is not there: '
            f'{sum(", ".join(found) == needs for found in missing.values())} cells'
        )
    jobs = [(name, cell, args.force) for name, cell in chosen.items() if not missing[name]]
    results = json.loads(path.read_text()) if path.exists() else {}
    failures = 0
    with ProcessPoolExecutor(args.jobs, get_context('spawn')) if args.jobs > 1 else contextlib.nullcontext() as pool:
        todo = pool.map(run_cell, *zip(*jobs)) if pool and jobs else (run_cell(*job) for job in jobs)
        for count, (name, report, remark) in enumerate(todo, 1):
            failures += report is None
            metrics = (
                ''
                if report is None
                else '  '.join(
                    f'{s["name"]} {" ".join(f"{v:.2f}" for v in s["metrics"].values())}' for s in report['stages']
                )
            )
            print(f'[{count}/{len(jobs)}] {name}: {metrics} ({remark})', flush=True)
            if report is not None:
                results[name] = compact(cells[name], report)
                results = {key: results[key] for key in cells if key in results}
                collect(path, results)
    if failures:
        sys.exit(f'{failures} cells failed; see error.txt in their folders under {WORK_DIRS}')


if __name__ == '__main__':
    main()
