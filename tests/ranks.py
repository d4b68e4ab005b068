"""Several processes on this machine that work as one, over gloo."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

TIMEOUT_S = 400


def in_ranks(work: Callable[[], None], world: int, folder: Path, connect: bool = True) -> None:
    """Call ``work`` in ``world`` processes, and fail with what they printed if one of them fails.

    Forks of this process, so that nobody waits for Python to import everything again.

    Args:
        work: What every rank does; ``torch.distributed`` tells it which one it is.
        world: How many processes.
        folder: Where their output goes.
        connect: Whether to make the process group; not if ``work`` does it by itself.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    fork = multiprocessing.get_context('fork')
    ranks = [
        fork.Process(target=_rank, args=(work, rank, world, port, folder / f'rank{rank}.txt', connect))
        for rank in range(world)
    ]
    deadline = time.monotonic() + TIMEOUT_S
    try:
        for rank in ranks:
            rank.start()
        while any(rank.is_alive() for rank in ranks) and not any(rank.exitcode for rank in ranks):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()
    said = '\n'.join(path.read_text()[-3000:] for path in sorted(folder.glob('rank*.txt')))
    assert [rank.exitcode for rank in ranks] == [0] * world, said


def _rank(work: Callable[[], None], rank: int, world: int, port: int, log: Path, connect: bool) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        CUDA_VISIBLE_DEVICES='',
    )
    torch.set_num_threads(1)  # the pool of threads did not come along
    if connect:
        dist.init_process_group('gloo')
    work()
    dist.barrier()
