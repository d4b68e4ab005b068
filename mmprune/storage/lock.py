"""One process per work dir: a run, or the sweep that starts it and hands the lock on."""

from __future__ import annotations

import fcntl
import os
import socket
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmprune.errors import ConfigError
from mmprune.storage.files import PARTIAL, WriteError

FILE = '.lock'
#: Environment variable with the number of the open file by which a child process holds what its parent locked.
HANDED_ON = 'MMPRUNE_LOCK_FD'


class InUseError(ConfigError):
    """Another process works in this folder."""


class Lock:
    """A locked work dir.

    The lock is the operating system's and belongs to the open file, not to a process or to the file's existence: it
    ends with the last process that holds it, however that ends, and no file has to be removed by hand.
    """

    def __init__(self, path: Path, handle: int, is_own: bool = True) -> None:
        """Take over an open file that is locked, and write into it who has it.

        Args:
            path: The lock's file.
            handle: Its file descriptor.
            is_own: Locked by this process; False for one that a parent process handed on, and will release.
        """
        self.path, self._handle, self._is_own = path, handle, is_own
        os.set_inheritable(handle, False)
        os.ftruncate(handle, 0)
        os.write(handle, f'process {os.getpid()} on {socket.gethostname()}'.encode())
        _HELD.add(self)

    @property
    def handles(self) -> tuple[int, ...]:
        """For ``pass_fds`` of a child process that shall hold the lock, too, and keep it if this process is killed."""
        return (self._handle,)

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables by which such a child process knows."""
        return {HANDED_ON: str(self._handle)}

    def release(self) -> None:
        """Remove the file and end the lock, if it is this process's own."""
        if not self._is_own:
            return
        if _is_same(self.path, self._handle):
            self.path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Close this process's view of the file; other processes that hold the lock go on holding it."""
        _HELD.discard(self)
        self._is_own = False
        os.close(self._handle)


_HELD: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


# workers of a data loader may live longer than their run when that is killed: they must not hold its lock
os.register_at_fork(after_in_child=_forget_all)


def _is_same(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except (OSError, OverflowError):
        return False


@contextmanager
def locked(work_dir: str | os.PathLike, is_main: bool = True) -> Iterator[Lock | None]:
    """Hold a work dir for the time of a run, and clear away what a killed run left half written.

    Args:
        work_dir: Made if it is not there.
        is_main: True for the process that writes; the others of a distributed run hold nothing.

    Raises:
        InUseError: Another run has it.
        WriteError: It cannot be written.
    """
    if not is_main:
        yield None
        return
    path = Path(work_dir) / FILE
    lock = _handed_on(path) or Lock(path, _opened(path))
    try:
        for rest in path.parent.glob(f'.*{PARTIAL}'):
            rest.unlink(missing_ok=True)
        yield lock
    finally:
        lock.release()


def _handed_on(path: Path) -> Lock | None:
    """The lock that the process which started this one holds, if it is of this work dir."""
    text = os.environ.get(HANDED_ON, '')
    return Lock(path, int(text), is_own=False) if text.isdecimal() and _is_same(path, int(text)) else None


def _opened(path: Path) -> int:
    """The lock's file, open and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise WriteError(path.parent, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            who = os.pread(handle, 200, 0).decode(errors='replace').strip() or '?'
            os.close(handle)
            raise InUseError(
                f'work_dir: {path.parent} is in use by another run ({who}); wait for it, or give this '
                'one another --work-dir'
            ) from error
        except OSError:  # a file system without locks
            return handle
        if _is_same(path, handle):
            return handle
        os.close(handle)  # its run ended, and took it away, between our opening and our locking it


def is_writer(launcher: str) -> bool:
    """True in the process that will be the first of its run, as far as its environment tells before the run begins.

    Args:
        launcher: Of the run: 'none', 'pytorch', 'slurm' or 'mpi'.
    """
    rank = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}.get(launcher)
    return rank is None or int(os.environ.get(rank, 0)) == 0
