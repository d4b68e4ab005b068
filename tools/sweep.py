r"""Run a config over a grid of its keys, in parallel processes, and write one table and one picture of all runs.

    python tools/sweep.py CONFIG --seeds 3 --jobs 2 \
        --grid pruning.pruner.allocator.ratio=0.3,0.5 pruning.restorer.type=LBYL,NeuronMerging,none

Every cell is one run of tools/train.py in a folder of its own. What is finished is never run again, so the same
command goes on where it was interrupted. A key that ends in `.type` chooses a whole part; `none` switches it off.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
from mmengine.config import DictAction

from mmprune.engine.cli import clear_errors, read_config
from mmprune.errors import ConfigError
from mmprune.sweeps.cells import shell_command
from mmprune.sweeps.grid import cells_of, parse_grid
from mmprune.sweeps.latency import measure_missing
from mmprune.sweeps.launch import Launcher, Run, runs_of
from mmprune.sweeps.plot import plot_sweep
from mmprune.sweeps.slurm import submit, write_array
from mmprune.sweeps.table import metric_of, rows_of, write_tables

TRAIN = Path(__file__).parent / 'train.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file with `pruning`')
    parser.add_argument(
        '--grid',
        nargs='+',
        default=[],
        metavar='KEY=V1,V2',
        help='keys of the config and their values; the cells are all combinations',
    )
    parser.add_argument('--seeds', type=int, default=1, help='runs of every cell, with seeds of their own')
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time')
    parser.add_argument('--work-dir', help='default: work_dirs/sweeps/<name of the config>')
    parser.add_argument('--metric', help='what the picture shows; default: the first metric of the config')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='keys that are the same in every cell'
    )
    parser.add_argument(
        '--latency',
        action='store_true',
        help='when all runs are through, time every network against the dense one, in turn',
    )
    parser.add_argument('--device', default='cpu', help='where --latency runs the networks')
    parser.add_argument(
        '--dry-run', action='store_true', help='check the grid and print the commands of what is missing'
    )
    parser.add_argument(
        '--slurm',
        metavar='PARTITION',
        help='submit what is missing as a Slurm job array; when it is '
        'through, the same command without --slurm writes the table',
    )
    args = parser.parse_args()
    for key in ('seeds', 'jobs'):
        if getattr(args, key) < 1:
            raise ConfigError(f'--{key}: at least 1, got {getattr(args, key)}')
    return args


def devices() -> list[str]:
    """The GPUs that runs may use."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        return [name for name in visible.split(',') if name]
    return [str(index) for index in range(torch.cuda.device_count())]


def progress(done: int, total: int, seconds: list[float], jobs: int) -> str:
    """``[███░░░] 3/6, about 2:10 left``."""
    bar = '█' * (20 * done // max(1, total))
    text = f'[{bar:░<20}] {done}/{total}'
    if seconds and done < total:
        left = round(sum(seconds) / len(seconds) * (total - done) / jobs)
        text += f', about {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left'
    return text


def write_results(runs: list[Run], folder: Path, metric: str | None) -> None:
    """Tables and picture of what is finished."""
    rows = rows_of(runs)
    written = list(write_tables(rows, folder))
    if (key := metric_of(rows, metric)) is not None:
        written.append(plot_sweep(rows, key, folder / 'sweep.png'))
    print(f'\n{written[1].read_text()}\nwritten: {", ".join(map(str, written))}')


def run_missing(missing: list[Run], done: int, total: int, jobs: int) -> list[str]:
    """Run what is missing; returns one line per failure."""
    failures, seconds = [], []
    with Launcher(TRAIN, jobs, devices()) as launcher:
        for outcome in launcher.launch(missing):
            name, done = f'{outcome.run.cell.name}/seed{outcome.run.seed}', done + 1
            remark = f'{outcome.seconds:.0f} s'
            if outcome.state == 'done':
                seconds.append(outcome.seconds)
                metrics = outcome.run.report()['stages'][-1]['metrics']
                remark = (
                    '  '.join(f'{key} {value:.2f}' for key, value in metrics.items() if value is not None)
                    + f' ({remark})'
                )
            elif outcome.state == 'failed':
                failures.append(f'{name}: {outcome.message}')
                remark = f'FAILED: {outcome.message}'
            else:
                remark = 'is being run by another process'
            print(f'{progress(done, total, seconds, jobs)}  {name}  {remark}', flush=True)
    return failures


@clear_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    start, cfg = time.perf_counter(), read_config(args.config)
    folder = Path(args.work_dir or Path('work_dirs/sweeps') / Path(args.config).stem)
    runs = runs_of(cells_of(cfg, parse_grid(args.grid), args.cfg_options), args.config, folder, args.seeds)
    missing = [run for run in runs if run.report() is None]
    done = len(runs) - len(missing)
    if args.dry_run:
        print('\n'.join(shell_command(run.arguments) for run in missing))
        return
    print(f'{len(runs)} runs in {folder}: {done} finished earlier, {len(missing)} to do', flush=True)
    if args.slurm and missing:
        for run in missing:
            run.forget_other_config()
        print(submit(write_array(missing, TRAIN, folder, args.slurm, args.jobs)))
        return
    failures: list[str] = []
    try:
        failures = run_missing(missing, done, len(runs), args.jobs)
        for run in measure_missing(runs, args.device) if args.latency else ():
            print(f'timed: {run.cell.name}', flush=True)
    finally:
        write_results(runs, folder, args.metric)
    print(f'{time.perf_counter() - start:.0f} s')
    if failures:
        sys.exit('\n'.join([f'{len(failures)} runs failed; the same command tries them again:', *failures]))


if __name__ == '__main__':
    main()
