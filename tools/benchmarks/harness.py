"""One way to compare: sides in turn on the same case, or each in fresh processes where memory counts; figures as JSON.

A benchmark is a module that names its cases and calls :func:`run`; ``python -m tools.benchmarks.NAME`` starts it in
the root of the repository. The slow literal versions that some compare with are those of tests/oracles.
"""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mmprune.checkpoint.reading import SAFE_TYPES
from mmprune.measure.latency import Latency, measure_latency
from mmprune.measure.stopwatch import elapsed_ms, in_turn
from mmprune.report.report import versions
from mmprune.storage.files import write_atomically

ROOT = Path(__file__).parents[2]
MEMORY = ('imported_mib', 'prepared_mib', 'peak_mib')


@dataclass(frozen=True)
class Case:
    """A candidate of a comparison.

    Attributes:
        sides: By name, what prepares a side (not timed) and returns the call that is timed. The first is the one that
            the others are compared with.
        difference: Of the sides' first results, by name: how far they are apart. Fresh processes hand results over in
            files: tensors, numbers and lists of them.
        facts: What else to write down; the sides may add to it while they are prepared in this process.
    """

    sides: Mapping[str, Callable[[], Callable[[], object]]]
    difference: Callable[[Mapping[str, Any]], float] | None = None
    facts: dict[str, object] = field(default_factory=dict)


def run(
    doc: str,
    cases: Mapping[str, Callable[[argparse.Namespace], Case]],
    options: Mapping[str, tuple[Any, Any]] | None = None,
    rounds: int = 5,
    warmup: int = 1,
    fresh: bool = False,
    out: Path | None = None,
) -> None:
    """Run a benchmark's command line.

    Args:
        doc: The benchmark's docstring.
        cases: What makes a case from the arguments, by name.
        options: Numbers and texts of the benchmark: their defaults, and what stands for them with ``--quick``.
        rounds: Timed runs of every side, unless the command line says otherwise.
        warmup: Runs of every side before those.
        fresh: Every timed run is a process of its own, whose peak memory is written down, too.
        out: JSON file to write, unless the command line says otherwise.
    """
    options = options or {}
    args = _parse(doc, cases, options, rounds, out)
    args.warmup, args.fresh = warmup, fresh
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.one:
        return _run_one(cases[args.one[0]], *args.one[1:], args)
    settings = {key: getattr(args, key) for key in (*options, 'rounds')}
    found = {'date': datetime.datetime.now().isoformat(timespec='minutes'), 'note': args.note}
    found |= {'load_average': os.getloadavg(), 'threads': args.threads, 'settings': settings}
    found |= {'versions': dict(versions()), 'cases': {}}
    for name in args.cases:
        found['cases'][name] = _compare(name, cases[name](args), args)
        print(_text(name, found['cases'][name]), flush=True)
    if args.out:
        runs = json.loads(args.out.read_text())['runs'] if args.append and args.out.exists() else []
        write_atomically(args.out, json.dumps({'schema_version': 1, 'runs': [*runs, found]}, indent=1) + '\n')
    return None


def _parse(doc: str, cases: Mapping, options: Mapping, rounds: int, out: Path | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cases', nargs='+', metavar='PATTERN', help=f'of: {", ".join(cases)}')
    parser.add_argument('--rounds', type=int, help=f'timed runs of every side (default: {rounds})')
    parser.add_argument('--threads', type=int, default=1, help='threads of torch')
    parser.add_argument('--quick', action='store_true', help='the first case, tiny, one round: does it run?')
    parser.add_argument('--out', type=Path, default=out, help='JSON file to write (default: %(default)s)')
    parser.add_argument('--append', action='store_true', help='keep the runs that the file holds')
    parser.add_argument('--note', default='', help='what is to be said about the machine')
    for name, (default, quick) in options.items():
        text = f'default: {default}; with --quick: {quick}'
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(default), help=text)
    parser.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.out = None if args.out == out else args.out
    for name, values in {**options, 'rounds': (rounds, 1)}.items():
        if getattr(args, name) is None:
            setattr(args, name, values[args.quick])
    args.cases = [name for name in cases if any(fnmatchcase(name, pattern) for pattern in args.cases or ['*'])]
    args.cases = args.cases[:1] if args.quick else args.cases
    return args


def _compare(name: str, case: Case, args: argparse.Namespace) -> dict:
    """A case's row: milliseconds of every side, how many times faster than the first it is, and the difference."""
    results: dict[str, Any] = {}
    if args.fresh:
        with tempfile.TemporaryDirectory() as folder:
            calls = {side: partial(_in_fresh_process, name, side, Path(folder) / side) for side in case.sides}
            sides = {side: _of_runs(runs) for side, runs in in_turn(calls, args.rounds).items()}
            if case.difference:
                with torch.serialization.safe_globals(SAFE_TYPES):
                    results = {side: torch.load(Path(folder) / side, weights_only=True) for side in sides}
    else:
        calls = {side: _keep_first(prepare(), results, side) for side, prepare in case.sides.items()}
        sides = {side: asdict(found) for side, found in measure_latency(calls, args.rounds, args.warmup).items()}
    first, *others = sides
    faster = {side: round(sides[first]['p50_ms'] / max(sides[side]['p50_ms'], 1e-3), 3) for side in others}
    row = {**case.facts, 'sides': sides, 'times_faster': faster}
    return row | ({'difference': case.difference(results)} if case.difference else {})


def _of_runs(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Times and peaks of memory of a side's processes."""
    return asdict(Latency.of([run['ms'] for run in runs])) | {key: max(run[key] for run in runs) for key in MEMORY}


def _in_fresh_process(case: str, side: str, path: Path) -> dict[str, float]:
    module = sys.modules['__main__'].__spec__.name
    command = [sys.executable, '-m', module, *sys.argv[1:], '--one', case, side, str(path)]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _run_one(make: Callable, side: str, path: str, args: argparse.Namespace) -> None:
    """One timed run of a side in this process, and its memory: after imports, when prepared, and at its peak."""
    results: dict[str, Any] = {}
    imported = _mib('VmRSS')
    case = make(args)
    call = _keep_first(case.sides[side](), results, side)
    prepared = _mib('VmRSS')
    for _ in range(args.warmup):
        call()
    ms = elapsed_ms(call)
    if case.difference:
        torch.save(results[side], path)
    print(json.dumps({'ms': ms, **dict(zip(MEMORY, (imported, prepared, _mib('VmHWM'))))}))


def _keep_first(call: Callable[[], object], results: dict[str, Any], side: str) -> Callable[[], None]:
    def kept() -> None:
        result = call()
        results.setdefault(side, result)

    return kept


def _mib(key: str) -> float:
    """Memory of this process as Linux tells it (getrusage would tell the parent's peak if that is higher)."""
    return round(int(Path('/proc/self/status').read_text().split(f'{key}:')[1].split()[0]) / 2**10, 1)


def _text(name: str, row: Mapping[str, Any]) -> str:
    lines = [name]
    for side, figures in row['sides'].items():
        line = f'  {side:<28}{figures["p50_ms"]:12.2f} ms ({figures["p5_ms"]:.2f} to {figures["p95_ms"]:.2f})'
        line += f'  peak {figures["peak_mib"]:.0f} MiB' if 'peak_mib' in figures else ''
        lines.append(line + (f'  {row["times_faster"][side]:g} × as fast' if side in row['times_faster'] else ''))
    rest = {key: value for key, value in row.items() if key not in ('sides', 'times_faster')}
    return '\n'.join([*lines, *([f'  {json.dumps(rest)}'] if rest else [])])
