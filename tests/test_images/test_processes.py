"""Sets that several processes make, or that a killed one leaves behind, are the set that one makes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from mmprune.images import ImageStore
from tests.ranks import in_ranks
from tests.test_images import worker
from tests.test_images.small import Classifier, contents, scope_of, trained

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def start(folder: Path, iterations: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-m', 'tests.test_images.worker', str(folder), str(iterations)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
    )


def alone(folder: Path, iterations: int) -> ImageStore:
    return worker.synthesizer(iterations).prepare(scope_of(trained(Classifier())), folder)


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 4])
def test_ranks_make_what_one_makes(tmp_path: Path, world: int) -> None:
    in_ranks(partial(alone, tmp_path / 'several', 4), world, tmp_path)
    one, (folder,) = alone(tmp_path / 'one', 4), (tmp_path / 'several' / 'synthetic').iterdir()
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
