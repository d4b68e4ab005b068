"""Sets that several processes make, or that a killed one leaves behind, are the set that one makes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmprune.synthesis import ImageStore
from tests.test_synthesis import worker
from tests.test_synthesis.small import Classifier, contents, scope_of, trained

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def start(folder: Path, iterations: int, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-m', 'tests.test_synthesis.worker', str(folder), str(iterations)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', **environment})


def alone(folder: Path, iterations: int) -> ImageStore:
    return worker.synthesizer(iterations).prepare(scope_of(trained(Classifier())), folder)


@pytest.mark.slow
def test_two_ranks_make_what_one_makes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    ranks = [start(tmp_path / 'two', 4, WORLD_SIZE='2', RANK=str(rank), LOCAL_RANK=str(rank), MASTER_PORT=port,
                   MASTER_ADDR='127.0.0.1') for rank in range(2)]
    try:
        outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], '\n'.join(output[-3000:] for output in outputs)
    one, (folder,) = alone(tmp_path / 'one', 4), (tmp_path / 'two' / 'synthetic').iterdir()
    assert folder.name == one.folder.name
    assert contents(ImageStore(folder)) == contents(one)


@pytest.mark.slow
def test_a_killed_process_leaves_a_set_that_can_be_continued(tmp_path: Path) -> None:
    process = start(tmp_path / 'killed', 300)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob('killed/synthetic/*/batch_00001.json')):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0][-3000:]
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    (folder,) = (tmp_path / 'killed' / 'synthetic').iterdir()
    left = ImageStore(folder).missing()
    assert left and 0 not in left
    resumed = alone(tmp_path / 'killed', 300)
    assert resumed.folder == folder
    assert contents(resumed) == contents(alone(tmp_path / 'one', 300))
