"""Two processes distil as one does with the same global batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmprune.checkpoint import read_checkpoint
from tests.test_engine import tiny

EXTRA = """
pruning.update(
    finetune=True, images=dict(type='GaussianNoise', num_images=48, batch_size=16),
    distillation=dict(type='FeatureDistillation', weights=2, bn='eval'))
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    tiny.call('train', tiny.write_config(tmp_path, EXTRA, 'one.py'), '--work-dir', tmp_path / 'one')
    tiny.write_config(tmp_path, EXTRA + "\ntrain_dataloader['batch_size'] = 8\n", 'two.py')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    environment = {**os.environ, 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port),
                   'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHONPATH': str(tiny.ROOT)}
    workers = [subprocess.Popen(
        [sys.executable, '-m', 'tests.test_engine.ddp_distillation_worker', str(tmp_path)], cwd=tiny.ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**environment, 'RANK': str(i), 'LOCAL_RANK': str(i)})
        for i in range(2)]
    try:
        outputs = [worker.communicate(timeout=300)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], '\n'.join(output[-4000:] for output in outputs)
    pruned, one, two = (read_checkpoint(tmp_path / name)['state_dict'] for name in (
        'one/pruned.pth', 'one/epoch_2.pth', 'two/epoch_2.pth'))
    for key, value in one.items():
        assert torch.allclose(value, two[key], atol=1e-5), key
        if key.startswith('head'):
            assert torch.equal(pruned[key], two[key])
    assert not torch.equal(pruned['backbone.layer3.0.conv1.weight'], one['backbone.layer3.0.conv1.weight'])
    tiny.assert_same_run(tmp_path / 'two' / 'epoch_2.pth', tmp_path / 'resumed' / 'epoch_2.pth')
