"""One run per work dir."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmprune.files import PARTIAL, WriteError
from mmprune.registry import ConfigError

FILE = '.lock'


@contextmanager
def locked(work_dir: str | os.PathLike, is_main: bool = True) -> Iterator[None]:
    """Hold a work dir for the time of a run, and clear away what a killed run left half written.

    The lock is the operating system's and goes with the process that holds it, however it ends: no file has to be
    removed by hand.

    Args:
        work_dir: Made if it is not there.
        is_main: Whether this is the process that writes; the others of a distributed run hold nothing.

    Raises:
        ConfigError: Another run has it.
        WriteError: It cannot be written.
    """
    if not is_main:
        yield
        return
    path = Path(work_dir) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open('a+')
    except OSError as error:
        raise WriteError(work_dir, error) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise ConfigError(f'work_dir: {work_dir} is in use by another run ({file.read().strip() or "?"}); wait '
                              'for it, or give this one another --work-dir') from error
        except OSError:  # a file system without locks
            pass
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        for rest in path.parent.glob(f'.*{PARTIAL}'):
            rest.unlink(missing_ok=True)
        yield


def is_writer(launcher: str) -> bool:
    """Whether this process will be the first of its run, as far as its environment tells before the run begins."""
    rank = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}.get(launcher)
    return rank is None or int(os.environ.get(rank, 0)) == 0
