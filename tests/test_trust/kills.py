"""Runs that are killed, again and again, at any point, and resumed until they end."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import torch

from mmprune.checkpoint.reading import read_checkpoint
from tests.test_engine import tiny

#: Every kind of long work: images are made, curves measured, the network is pruned and learns from its dense self.
CONFIG = """
pruning.update(
    finetune=True, evaluate=False, restorer='BNRecalibration',
    images=dict(type='DeepInversion', num_images=48, batch_size=8, phases=[dict(iterations=3, jitter=1)],
                progress=False),
    pruner=dict(type='ChannelPruner', criterion='L2Norm', keep=['conv1', '*.conv2'], min_channels=1,
                allocator=dict(type='RateDistortion', ratio=0.4, curves=dict(num_images=8, points=2))),
    distillation=dict(type='FeatureDistillation', bn='eval'))
optim_wrapper['optimizer']['lr'] = 1e-3
train_cfg.update(max_epochs=6)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
                     logger=dict(type='LoggerHook', interval=1000))
custom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]
"""


def start(folder: Path, resume: bool = False) -> multiprocessing.Process:
    """A run in a process of its own; everything that it keeps lies in the folder.

    A fork of this process, so that nobody waits for Python to import everything again.
    """
    config = folder / 'tiny.py'
    if not config.exists():
        tiny.write_config(folder, CONFIG)
    process = multiprocessing.get_context('fork').Process(target=_train, args=(folder, config, resume))
    process.start()
    return process


def _train(folder: Path, config: Path, resume: bool) -> None:
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ['MMPRUNE_CACHE'] = str(folder / 'cache')
    torch.set_num_threads(1)
    tiny.call('train', config, '--work-dir', folder / 'run', *(['--resume'] if resume else []))


def finish(folder: Path, resume: bool = False) -> Path:
    """Let a run come to its end; its work dir."""
    process = start(folder, resume)
    process.join()
    if process.exitcode:
        raise AssertionError((folder / 'log.txt').read_text()[-3000:])
    return folder / 'run'


#: What a run does, in its order; writing a checkpoint happens in between.
STAGES = ('start', 'synthesis', 'measuring curves', 'pruning', 'fine-tuning', 'the end')
WRITING = 'writing a checkpoint'


def kill(folder: Path, draw: random.Random, resume: bool) -> str:
    """Start or resume a run and kill it in a stage that is drawn; what it was at, or '' if it had ended.

    A run that is in this stage or beyond it already is killed after it wrote a few more files.
    """
    before, stale, wanted = _written(folder), _partial(folder), draw.choice((*STAGES[1:], WRITING))
    files, delay = draw.choice((0, 1, 1, 2, 4)), draw.choice((0, 0, 0.005, 0.05, 0.3))
    process = start(folder, resume)

    def is_time() -> bool:
        if wanted == WRITING:
            return bool(_partial(folder) - stale)
        return STAGES.index(wanted) <= _furthest(folder) and len(_written(folder) - before) >= files

    try:
        while process.is_alive() and not is_time():
            time.sleep(0 if wanted == WRITING else 0.001)
        time.sleep(0 if wanted == WRITING else delay)
        if not process.is_alive():
            if process.exitcode:
                raise AssertionError((folder / 'log.txt').read_text()[-3000:])
            return ''
    finally:
        process.kill()  # SIGKILL
        process.join()
    return WRITING if _partial(folder) - stale else STAGES[_furthest(folder)]


def _written(folder: Path) -> set[tuple[str, int]]:
    """Files that the run keeps, and when they were written."""
    found = set()
    for path in [*folder.glob('run/synthetic/*/*'), *folder.glob('cache/**/*'), *folder.glob('run/*.pth')]:
        try:
            found.add((str(path), path.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return found


def _partial(folder: Path) -> set[tuple[str, int]]:
    """Checkpoints that are being written."""
    found = set()
    for path in folder.glob('run/.*.pth*.part'):
        try:
            found.add((str(path), path.stat().st_ctime_ns))
        except FileNotFoundError:
            continue
    return found


def _furthest(folder: Path) -> int:
    """The stage that a run has come to."""
    run = folder / 'run'
    if (run / 'finetuned.pth').exists():
        return 5
    if list(run.glob('epoch_*.pth')):
        return 4
    if (run / 'pruned.pth').exists():
        return 3
    if list(folder.glob('cache/**/*.json')):
        return 2
    return 1 if list(run.glob('synthetic/*/*')) else 0


def assert_same_end(one: Path, two: Path) -> None:
    """Two runs ended with bit-equal networks, averages and optimisers, and the same images."""
    tiny.assert_same_run(one / 'epoch_6.pth', two / 'epoch_6.pth')
    states = [read_checkpoint(run / 'finetuned.pth')['state_dict'] for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    images = [{path.name: path.read_bytes() for path in run.glob('synthetic/*/*.npy')} for run in (one, two)]
    assert len(images[0]) == 6 and images[0] == images[1]
