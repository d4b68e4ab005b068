"""One process per work dir; whoever is killed blocks nobody, and nobody takes another's lock away."""

import errno
import fcntl
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmprune.storage.lock import FILE, HANDED_ON, InUseError, locked
from tests.test_engine import tiny

CHILD = """
import sys
from mmprune.storage.lock import locked
with locked(sys.argv[1]):
    print('held', flush=True)
    input()
print('left', flush=True)
"""


def forked(function: Callable[..., None], *arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context('fork').Process(target=function, args=arguments)
    process.start()
    return process


def hold(folder: Path, note: Path) -> None:
    with locked(folder):
        note.touch()
        time.sleep(600)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_one_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / 'run'
    with locked(folder):
        message = f'work_dir: {folder} is in use by another run .process {os.getpid()} on'
        with pytest.raises(InUseError, match=message), locked(folder):
            pass
        with locked(tmp_path / 'other'):
            pass
        with locked(folder, is_main=False):
            pass
        assert (folder / FILE).exists()
    assert not list(folder.iterdir())
    with locked(folder):
        pass


def test_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    process = forked(hold, tmp_path, tmp_path / 'note')
    wait_for(tmp_path / 'note')
    (tmp_path / '.epoch_9.pth.part').touch()
    with pytest.raises(InUseError, match=f'process {process.pid} on'), locked(tmp_path):
        pass
    assert (tmp_path / '.epoch_9.pth.part').exists()
    process.kill()
    process.join()
    assert (tmp_path / FILE).exists()
    with locked(tmp_path):
        assert not (tmp_path / '.epoch_9.pth.part').exists()


def test_a_worker_that_outlives_its_run_does_not_hold_its_lock(tmp_path: Path) -> None:
    def run() -> None:
        with locked(tmp_path):
            (tmp_path / 'worker').write_text(str(forked(time.sleep, 600).pid))
            (tmp_path / 'note').touch()
            time.sleep(600)

    process = forked(run)
    wait_for(tmp_path / 'note')
    process.kill()
    process.join()
    worker = int((tmp_path / 'worker').read_text())
    try:
        os.kill(worker, 0)
        with locked(tmp_path):
            pass
    finally:
        os.kill(worker, 9)


def test_a_lock_is_handed_on(tmp_path: Path) -> None:
    """The child works in the folder that its parent locked; it goes on holding it when its parent is killed."""
    other = tmp_path / 'other'

    def parent() -> None:
        with locked(tmp_path) as lock, open(tmp_path / 'said', 'w') as said:
            child = subprocess.Popen(
                [sys.executable, '-c', CHILD, str(tmp_path)],
                cwd=tiny.ROOT,
                env={**os.environ, **lock.environment},
                pass_fds=lock.handles,
                stdin=0,
                stdout=said,
            )
            (tmp_path / 'child').write_text(str(child.pid))
            time.sleep(600)

    reading, writing = os.pipe()
    standard = os.dup(0)
    os.dup2(reading, 0)
    try:
        process = forked(parent_with_input(parent, reading))
        while 'held' not in (tmp_path / 'said').read_text() if (tmp_path / 'said').exists() else True:
            time.sleep(0.05)
        child = int((tmp_path / 'child').read_text())
        process.kill()
        process.join()
        with pytest.raises(InUseError, match=f'process {child} on'), locked(tmp_path):
            pass
        with locked(other):
            pass
        os.write(writing, b'\n')
        while 'left' not in (tmp_path / 'said').read_text():
            time.sleep(0.05)
    finally:
        os.dup2(standard, 0)
        for handle in (reading, writing, standard):
            os.close(handle)
    assert (tmp_path / FILE).exists()  # the child leaves it to its parent
    while True:
        try:
            with locked(tmp_path):
                break
        except InUseError:  # it is still closing
            time.sleep(0.05)


def parent_with_input(parent: Callable[[], None], handle: int) -> Callable[[], None]:
    def start() -> None:
        os.dup2(handle, 0)  # multiprocessing closes the standard input of its processes
        parent()

    return start


@pytest.mark.parametrize('text', ['', 'x', '-1', '0', '999', '9' * 30])
def test_a_word_about_a_lock_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(HANDED_ON, text)
    with locked(tmp_path), pytest.raises(InUseError), locked(tmp_path):
        pass
    assert not (tmp_path / FILE).exists()


def test_nobody_removes_anothers_lock(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / FILE).unlink()  # by hand, say
        process = forked(hold, tmp_path, tmp_path / 'note')
        wait_for(tmp_path / 'note')
    try:
        with pytest.raises(InUseError, match=f'process {process.pid} on'), locked(tmp_path):
            pass
    finally:
        process.kill()
        process.join()


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, 'flock', refuse)
    with locked(tmp_path), locked(tmp_path):
        pass
