"""Checks of many networks, each in a process of its own with limits of time and memory, each result in a file.

A check returns what it found, and raises :class:`Refused` where there is nothing to check. Whatever else it raises is
a fault. What has a result is not run again, unless asked for.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import re
import resource
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from mmprune.report.report import versions
from mmprune.storage.files import write_atomically

STATUSES = ('works', 'refused', 'wrong')


class Wrong(Exception):
    """A pruned network that does not do what it should."""


class Refused(Exception):
    """A network that cannot be built or run here, or that mmprune does not cut."""


def words(text: str, ending: str = '') -> list[str]:
    """The words of a text, such as a long list of names."""
    return [word + ending for word in text.split()]


@contextmanager
def refusing(why: str) -> Iterator[None]:
    """Errors mean that there is nothing to check."""
    try:
        yield
    except Exception as error:
        raise Refused(f'{why}: {error!r:.200}') from error


def parser_of(doc: str, work_dir: str) -> argparse.ArgumentParser:
    """The options that all these tools have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='*', help='pattern of names')
    parser.add_argument('--again', action='store_true', help='run also what was run')
    parser.add_argument('--failed', action='store_true', help='run also what was run and did not work')
    parser.add_argument('--seconds', type=float, default=600, help='limit for one network')
    parser.add_argument('--gigabytes', type=float, default=8, help='limit for one network')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs') / work_dir)
    return parser


def run(checks: Mapping[str, Callable[[], dict]], args: argparse.Namespace) -> dict[str, dict]:
    """Results of all checks that have been run, by their names; those that the arguments ask for are run first."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    paths = {name: args.work_dir / file_of(name) for name in checks}
    known = {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}
    again = set(checks) if args.again else {name for name in known if args.failed and known[name]['status'] != 'works'}
    todo = [name for name in checks if fnmatchcase(name, args.only) and (name not in known or name in again)]
    start = time.perf_counter()
    for done, name in enumerate(todo, 1):
        known[name] = found = run_one(checks[name], paths[name], args.seconds, args.gigabytes)
        left = (time.perf_counter() - start) / done * (len(todo) - done) / 60
        text = f'{name}: {found["status"]} {found["seconds"]} s {found["reason"][:150]}'
        print(f'[{done}/{len(todo)}, {left:.0f} min left] {text}', flush=True)
    known = {name: known[name] for name in checks if name in known}
    print(', '.join(f'{count} {status}' for status, count in count_of(known.values()).items()))
    return known


def count_of(results: Iterable[dict]) -> dict[str, int]:
    """Number of results of every status."""
    counts = Counter(result['status'] for result in results)
    return {status: counts[status] for status in STATUSES}


def file_of(name: str) -> str:
    """The file of a check's result."""
    return re.sub(r'[^\w.-]+', '_', name) + '.json'


def run_one(check: Callable[[], dict], path: Path, seconds: float, gigabytes: float) -> dict:
    """Run one check in a process of its own.

    Args:
        check: The check.
        path: File of the result; what the process prints is beside it.
        seconds: After so long it is ended.
        gigabytes: Limit of its memory.

    Returns:
        ``status``, ``reason``, ``seconds``, date and versions, and what the check found.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    process = multiprocessing.get_context('fork').Process(target=_child, args=(check, path, gigabytes))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        _write(path, 'wrong', seconds, f'takes more than {seconds:g} s')
    elif not path.exists():
        _write(path, 'wrong', 0.0, f'its process ended with code {process.exitcode}')
    return json.loads(path.read_text())


def _child(check: Callable[[], dict], path: Path, gigabytes: float) -> None:
    os.dup2(os.open(path.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    limit, start = int(gigabytes * 2**30), time.perf_counter()
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    status, reason, found = 'wrong', '', {}
    try:
        status, found = 'works', check()
    except Refused as error:
        status, reason = 'refused', str(error)
    except Wrong as error:
        reason = str(error)
    except MemoryError:
        reason = f'needs more than {gigabytes:g} GiB'
    except Exception as error:
        traceback.print_exc()
        reason = f'{type(error).__name__}: {error}'
    _write(path, status, round(time.perf_counter() - start, 1), reason, found)


def _write(path: Path, status: str, seconds: float, reason: str, found: Mapping[str, object] | None = None) -> None:
    result = {'status': status, 'reason': reason, **(found or {}), 'seconds': seconds}
    result |= {'date': datetime.date.today().isoformat()}
    result |= {'versions': ' '.join(f'{name}={version}' for name, version in versions().items())}
    write_atomically(path, json.dumps(result))
