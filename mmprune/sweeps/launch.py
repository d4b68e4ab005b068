"""Runs of cells in processes of their own."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmprune.engine.config import read_settings
from mmprune.storage.lock import InUseError, Lock, locked
from mmprune.sweeps.cells import arguments_of, finished
from mmprune.sweeps.grid import Cell

GRACE_S = 10.0


@dataclass(frozen=True)
class Run:
    """One cell with one seed.

    Attributes:
        cell: What is run.
        seed: Its random seed.
        folder: Its work dir.
        arguments: Those of tools/train.py.
        text: The config that the run will report.
        last_stage: Name of the stage that a complete run ends with.
    """

    cell: Cell
    seed: int
    folder: Path
    arguments: tuple[str, ...]
    text: str
    last_stage: str

    def report(self) -> dict | None:
        """Report of a finished run of exactly this config, or None."""
        return finished(self.folder, self.text, self.last_stage)

    def forget_other_config(self) -> None:
        """Let training start anew, not from a checkpoint that another config left in this folder."""
        if finished(self.folder, self.text) is None:
            (self.folder / 'last_checkpoint').unlink(missing_ok=True)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run: ``done``, ``failed`` or ``elsewhere`` (another process has it), and the time it took."""

    run: Run
    state: str
    seconds: float = 0.0
    message: str = ''


def runs_of(cells: Sequence[Cell], config: str | Path, folder: Path, num_seeds: int) -> list[Run]:
    """Every cell with every seed, in folders of their own; seeds count from the config's own, or 0."""
    runs = []
    for cell in cells:
        first = (cell.config.get('randomness') or {}).get('seed') or 0
        stage = last_stage_of(cell.config)
        for seed in range(first, first + num_seeds):
            work_dir = folder / cell.name / f'seed{seed}'
            arguments = arguments_of(
                config, work_dir, cell.options, ['--seed', str(seed), *(['--resume'] if stage == 'finetuned' else [])]
            )
            runs.append(Run(cell, seed, work_dir, tuple(arguments), _text(cell, seed, work_dir), stage))
    return runs


def last_stage_of(config: Config) -> str:
    """The name of the stage that a complete run of a config ends with."""
    if config.pruning.get('finetune', False):
        return 'finetuned'
    return 'pruned' if read_settings(config.copy()).restorer is None else 'restored'


def _text(cell: Cell, seed: int, work_dir: Path) -> str:
    """The config's text as tools/train.py reports it."""
    cfg = cell.config.copy()
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': seed}
    cfg.launcher, cfg.work_dir, cfg.resume = 'none', str(work_dir), False
    return cfg.pretty_text


class Launcher:
    """Runs tools/train.py for many runs, some at a time; what is interrupted leaves whole files only.

    Example:
        >>> with Launcher('tools/train.py', jobs=2) as launcher:
        ...     for outcome in launcher.launch(runs):
        ...         print(outcome.run.cell.name, outcome.state)
    """

    def __init__(self, tool: str | Path, jobs: int, devices: Sequence[str] = ()) -> None:
        """A pool of processes, idle yet.

        Args:
            tool: Path of tools/train.py.
            jobs: Processes at a time.
            devices: Indices of GPUs, shared among the processes in turn; none leaves the environment as it is.
        """
        self.tool, self.jobs = Path(tool).resolve(), jobs
        self._slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        threads = (
            {} if 'OMP_NUM_THREADS' in os.environ else {'OMP_NUM_THREADS': str(max(1, (os.cpu_count() or 1) // jobs))}
        )
        for index in range(jobs):
            device = {'CUDA_VISIBLE_DEVICES': devices[index % len(devices)]} if devices else {}
            self._slots.put({**threads, **device})
        self._pool = ThreadPoolExecutor(jobs)
        self._processes: set[subprocess.Popen] = set()
        self._lock, self._stopped = threading.Lock(), False

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what still runs; nothing that is finished is touched."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.send_signal(signal.SIGINT)
        self._pool.shutdown(cancel_futures=True)

    def launch(self, runs: Sequence[Run]) -> Iterator[Outcome]:
        """Outcomes as they come."""
        for future in as_completed([self._pool.submit(self._one, run) for run in runs]):
            yield future.result()

    def _one(self, run: Run) -> Outcome:
        slot = self._slots.get()
        try:
            with locked(run.folder) as lock:
                assert lock is not None, 'a main process holds it'
                if run.report() is not None:  # another process was quicker
                    return Outcome(run, 'done')
                run.forget_other_config()
                return self._run(run, slot, lock)
        except InUseError:
            return Outcome(run, 'elsewhere')
        finally:
            self._slots.put(slot)

    def _run(self, run: Run, environment: Mapping[str, str], lock: Lock) -> Outcome:
        start, log = time.perf_counter(), run.folder / 'log.txt'
        with open(log, 'w') as file:
            with self._lock:
                if self._stopped:
                    return Outcome(run, 'failed', message='interrupted')
                process = subprocess.Popen(
                    [sys.executable, str(self.tool), *run.arguments],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment, **lock.environment},
                    pass_fds=lock.handles,
                )
                self._processes.add(process)
            while process.poll() is None:
                try:
                    process.wait(GRACE_S)
                except subprocess.TimeoutExpired:
                    if self._stopped:
                        process.kill()
            with self._lock:
                self._processes.discard(process)
        seconds = time.perf_counter() - start
        if process.returncode == 0 and run.report() is not None:
            return Outcome(run, 'done', seconds)
        lines = [line for line in log.read_text(errors='replace').splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith('error')] or lines[-1:]
        if process.returncode == 0:
            errors = ['the run ended, but its report.json is missing or of another config']
        return Outcome(run, 'failed', seconds, f'{errors[-1] if errors else "no output"} (see {log})')
