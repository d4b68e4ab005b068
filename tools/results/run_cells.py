"""Run the cells of a result table and collect what they measured in results.json beside the cells.

A cell is one command of tools/train.py, or several that differ by their seed. Runs whose report.json is there and was
made by the same config are not repeated; cells whose weights or data are missing are skipped. `make_readme.py` makes
tables of the results.

    python tools/results/run_cells.py configs/lbyl/cells.json --only 'lenet300*'
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from collections import Counter
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmprune.engine import prepare_config
from mmprune.registry import DATASETS
from mmprune.storage.files import write_atomically
from mmprune.sweeps.cells import arguments_of, flat, shell_command
from mmprune.sweeps.grid import Cell
from mmprune.sweeps.launch import Launcher, Run, last_stage_of

TRAIN = Path(__file__).parents[1] / 'train.py'
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
        options, parts = {}, {}
        if 'pruner' in cell:
            parts['pruning.pruner'] = cell['pruner']
        elif 'allocator' in cell:  # masks: rows differ by the allocator
            amount = {} if 'target' in cell['allocator'] else dict(ratio=float(ratio))
            parts['pruning.pruner.allocator'] = {**cell['allocator'], **amount}
        else:
            options['pruning.pruner.allocator.ratio'] = float(ratio)
            random = dict(type='Random', variant=criterion)
            parts['pruning.pruner.criterion'] = random if criterion in RANDOM else dict(type=criterion)
        if cell.get('restorer'):
            parts['pruning.restorer'] = cell['restorer']
        options |= cell.get('options', {})
        for key, part in parts.items():
            options |= {f'{key}._delete_': True, **flat(part, key)}
        config, seeds = cell.get('config', content['tables'][table]['config']), cell.get('seeds')
        seedings = {f'/seed{seed}': {'randomness.seed': seed} for seed in seeds} if seeds else {'': {}}
        for ending, seeding in seedings.items():
            name = cell['cell'] + ending
            cells[name] = dict(
                config=config,
                options=options | seeding,
                work_dir=WORK_DIRS / Path(config).parent.name / name,
                published=cell.get('published'),
                needs=content['tables'][table].get('needs', []),
            )
    return cells


def run_of(name: str, cell: dict) -> Run:
    """A cell as a run of tools/train.py."""
    cfg = Config.fromfile(cell['config'])
    cfg.merge_from_dict(dict(cell['options']))
    cfg.launcher, cfg.work_dir, cfg.resume = 'none', str(cell['work_dir']), False
    cfg = prepare_config(cfg)
    seed = cell['options'].get('randomness.seed', 0)
    arguments = tuple(arguments_of(cell['config'], cell['work_dir'], cell['options']))
    options = Cell(name, labels={}, values={}, options=cell['options'], config=cfg)
    return Run(options, seed, cell['work_dir'], arguments, cfg.pretty_text, last_stage_of(cfg))


def images_of(cfg: Config) -> int:
    """Number of images that a config tests on."""
    init_default_scope(cfg.default_scope)
    return len(DATASETS.build(cfg.test_dataloader.dataset))


def compact(run: Run, published: float | None) -> dict:
    """The part of a run's report that tables need."""
    report = run.report()
    stages = [
        {
            'name': stage['name'],
            'metrics': {key: round(value, 4) for key, value in stage['metrics'].items()},
            **{key: stage[key] for key in ('params', 'flops', 'nonzero_params', 'seconds')},
            **({'target_ms': stage['target_ms']} if stage.get('target_ms') else {}),
        }
        for stage in report['stages']
    ]
    last = report['stages'][-1]
    now_and_then = {
        'published': published,
        'only_sliced': sorted({row['repair'] for row in report['layers'] if row['repair'].startswith('only sliced')}),
        'synthesis': report['extra'].get('synthesis'),
        'training': last['note'] if last['name'] == 'finetuned' else None,
    }
    return dict(
        stages=stages,
        test_images=images_of(run.cell.config),
        input_shape=report['input_shape'],
        seed=report['seed'],
        **{key: value for key, value in now_and_then.items() if value not in (None, [])},
        command=shell_command(run.arguments),
        versions=' '.join(f'{key}={value}' for key, value in report['versions'].items()),
    )


def main() -> None:
    """Run the cells that the command line names."""
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
        print('\n'.join(shell_command(run_of(name, cell).arguments) for name, cell in chosen.items()))
        return
    missing = {name: ', '.join(n for n in cell['needs'] if not Path(n).exists()) for name, cell in chosen.items()}
    for needs, count in Counter(filter(None, missing.values())).items():
        print(f'not run, because {needs} is not there: {count} cells')
    runs = [run_of(name, cell) for name, cell in chosen.items() if not missing[name]]
    for run in runs if args.force else ():
        (run.folder / 'report.json').unlink(missing_ok=True)
    results, failures = json.loads(path.read_text()) if path.exists() else {}, 0
    with Launcher(TRAIN, args.jobs) as launcher:
        for count, outcome in enumerate(launcher.launch(runs), 1):
            name, remark = outcome.run.cell.name, f'{outcome.state} {outcome.message}'
            failures += outcome.state == 'failed'
            if outcome.state == 'done':
                results[name] = compact(outcome.run, cells[name]['published'])
                stages = results[name]['stages']
                remark = '  '.join(' '.join([s['name'], *(f'{v:.2f}' for v in s['metrics'].values())]) for s in stages)
                lines = (f'{json.dumps(key)}: {json.dumps(results[key])}' for key in cells if key in results)
                write_atomically(path, '{\n' + ',\n'.join(lines) + '\n}\n')
            print(f'[{count}/{len(runs)}] {name}: {remark} ({outcome.seconds:.0f} s)', flush=True)
    if failures:
        sys.exit(f'{failures} cells failed; the same command tries them again')


if __name__ == '__main__':
    main()
