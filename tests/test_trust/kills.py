"""Runs that are killed, again and again, at any point, and resumed until they end."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from mmprune.checkpoint import read_checkpoint
from tests.test_engine import tiny

#: Every kind of long work: images are made, curves measured, the network is pruned and learns from its dense self.
CONFIG = """
pruning.update(
    finetune=True, evaluate=False, restorer='BNRecalibration',
    images=dict(type='DeepInversion', num_images=64, batch_size=8, phases=[dict(iterations=12, jitter=1)],
                progress=False),
    pruner=dict(type='ChannelPruner', criterion='L2Norm', keep=['conv1', '*.conv2'], min_channels=1,
                allocator=dict(type='RateDistortion', ratio=0.4, curves=dict(num_images=16, points=4))),
    distillation=dict(type='FeatureDistillation', weights=2, bn='eval'))
train_cfg.update(max_epochs=6)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
                     logger=dict(type='LoggerHook', interval=1000))
custom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]
"""


def start(folder: Path, resume: bool = False) -> subprocess.Popen:
    """A run in a process of its own; everything that it keeps lies in the folder."""
    config = folder / 'tiny.py'
    if not config.exists():
        tiny.write_config(folder, CONFIG)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(tiny.ROOT),
                   'MMPRUNE_CACHE': str(folder / 'cache')}
    with (folder / 'log.txt').open('a') as log:
        return subprocess.Popen(
            [sys.executable, str(tiny.ROOT / 'tools' / 'train.py'), str(config), '--work-dir', str(folder / 'run'),
             *(['--resume'] if resume else [])], cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)


def finish(folder: Path, resume: bool = False) -> Path:
    """Let a run come to its end; its work dir."""
    process = start(folder, resume)
    if process.wait():
        raise AssertionError((folder / 'log.txt').read_text()[-3000:])
    return folder / 'run'


def kill(folder: Path, draw: random.Random, resume: bool) -> str:
    """Start or resume a run and kill it after it wrote a few more files; what it was at, or '' if it had ended."""
    before, wanted = _written(folder), draw.choice((1, 1, 2, 3, 5, 8, 12, 20))
    process = start(folder, resume)
    try:
        while process.poll() is None and len(_written(folder) - before) < wanted:
            time.sleep(0.001)
        time.sleep(draw.choice((0, 0, 0.005, 0.05, 0.3)))
        if process.poll() is not None:
            if process.returncode:
                raise AssertionError((folder / 'log.txt').read_text()[-3000:])
            return ''
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return stage(folder)


def _written(folder: Path) -> set[tuple[str, int]]:
    """Files that the run keeps, and when they were written."""
    found = set()
    for path in [*folder.glob('run/synthetic/*/*'), *folder.glob('cache/**/*'), *folder.glob('run/*')]:
        try:
            found.add((str(path), path.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return found


def stage(folder: Path) -> str:
    """What a killed run was at."""
    run = folder / 'run'
    partial = [path.name for path in (*run.glob('.*.part'), *run.glob('synthetic/*/.*.part'),
                                      *folder.glob('cache/**/.*.part'))]
    if any('.pth' in name for name in partial):
        return 'writing a checkpoint'
    if (run / 'finetuned.pth').exists():
        return 'the end'
    if list(run.glob('epoch_*.pth')):
        return 'fine-tuning'
    if (run / 'pruned.pth').exists():
        return 'pruning'
    if list(folder.glob('cache/**/*.json')):
        return 'measuring curves'
    return 'synthesis' if list(run.glob('synthetic/*/*')) else 'start'


def assert_same_end(one: Path, two: Path) -> None:
    """Two runs ended with bit-equal networks, averages and optimisers, and the same images."""
    tiny.assert_same_run(one / 'epoch_6.pth', two / 'epoch_6.pth')
    states = [read_checkpoint(run / 'finetuned.pth')['state_dict'] for run in (one, two)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    images = [{path.name: path.read_bytes() for path in run.glob('synthetic/*/*.npy')} for run in (one, two)]
    assert len(images[0]) == 8 and images[0] == images[1]
