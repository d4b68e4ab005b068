"""Lock of a work dir: one run at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mmprune.errors import ConfigError
from mmprune.storage.files import PARTIAL, WriteError

FILE = '.lock'


@contextmanager
def locked(work_dir: str | os.PathLike, is_main: bool = True) -> Iterator[None]:
    """Hold a work dir for the time of a run, and clear away what a killed run left half written.

    The lock is the operating system's and goes with the process that holds it, however it ends: no file has to be
    removed by hand.

    Args:
        work_dir: Made if it is not there.
        is_main: True for the process that writes; the others of a distributed run hold nothing.

    Raises:
        ConfigError: Another run has it.
        WriteError: It cannot be written.
    """
    if not is_main:
        yield
        return
    path = Path(work_dir) / FILE
    with _opened(path) as file:
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        for rest in path.parent.glob(f'.*{PARTIAL}'):
            rest.unlink(missing_ok=True)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _opened(path: Path) -> TextIO:
    """The lock's file, open and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open('a+')
        except OSError as error:
            raise WriteError(path.parent, error) from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            with file:
                file.seek(0)
                who = file.read().strip() or '?'
            raise ConfigError(
                f'work_dir: {path.parent} is in use by another run ({who}); wait for it, or give this '
                'one another --work-dir'
            ) from error
        except OSError:  # a file system without locks
            return file
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()  # its run ended, and took it away, between our opening and our locking it


def is_writer(launcher: str) -> bool:
    """True in the process that will be the first of its run, as far as its environment tells before the run begins.

    Args:
        launcher: Of the run: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    rank = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}.get(launcher)
    return rank is None or int(os.environ.get(rank, 0)) == 0
