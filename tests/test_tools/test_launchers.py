"""The shell scripts hand everything through, one argument as one argument."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
EXTRA = ['--cfg-options', 'a.b=with a space', 'c=[1,2]', '--seed', '3']
SCRIPTS = {
    'dist_train': (['cfg.py', '2'], ['--nproc_per_node=2', 'tools/train.py', 'cfg.py', '--launcher', 'pytorch']),
    'dist_test': (
        ['cfg.py', 'a.pth', '2'],
        ['--nproc_per_node=2', 'tools/test.py', 'cfg.py', 'a.pth', '--launcher', 'pytorch'],
    ),
    'slurm_train': (
        ['part', 'job', 'cfg.py', 'out'],
        [
            'part',
            '--job-name=job',
            '--gres=gpu:4',
            '--ntasks=4',
            'tools/train.py',
            'cfg.py',
            '--work-dir=out',
            '--launcher',
            'slurm',
        ],
    ),
    'slurm_test': (
        ['part', 'job', 'cfg.py', 'a.pth'],
        [
            'part',
            '--job-name=job',
            '--gres=gpu:4',
            '--ntasks=4',
            'tools/test.py',
            'cfg.py',
            'a.pth',
            '--launcher',
            'slurm',
        ],
    ),
}


@pytest.mark.parametrize('name', SCRIPTS)
def test_arguments(tmp_path: Path, name: str) -> None:
    script = TOOLS / f'{name}.sh'
    subprocess.run(['bash', '-n', script], check=True)
    for command in ('python', 'srun'):
        (tmp_path / command).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / command).chmod(0o755)
    given, expected = SCRIPTS[name]
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'GPUS': '4'}
    environment.pop('PYTHON', None)
    done = subprocess.run(
        [script, *given, *EXTRA], env=environment, cwd=tmp_path, check=True, text=True, capture_output=True
    )
    seen = [line.replace(f'{TOOLS.parent}/', '') for line in done.stdout.splitlines()]
    positions = [seen.index(item) for item in expected]
    assert positions == sorted(positions)
    assert seen[-len(EXTRA) :] == EXTRA
    failed = subprocess.run([script, 'cfg.py'], capture_output=True, text=True)
    assert failed.returncode == 2 and failed.stderr.startswith('usage: ')
