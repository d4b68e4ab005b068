"""A sweep as one Slurm job array."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmprune.errors import ConfigError
from mmprune.storage.files import write_atomically
from mmprune.sweeps.launch import Run


def write_array(runs: Sequence[Run], tool: str | Path, folder: Path, partition: str, jobs: int) -> Path:
    """Write ``runs.txt``, one command per line, and ``array.sbatch``, each task of which runs one of them.

    Args:
        runs: At least one.
        tool: Path of tools/train.py.
        folder: The sweep's work dir; on a file system that the nodes share.
        partition: Slurm partition.
        jobs: Tasks at a time.

    Returns:
        The script for ``sbatch``.
    """
    lines = [shlex.join([sys.executable, str(Path(tool).resolve()), *run.arguments]) for run in runs]
    commands = write_atomically(folder / 'runs.txt', '\n'.join(lines) + '\n').resolve()
    (folder / 'slurm').mkdir(parents=True, exist_ok=True)
    return write_atomically(
        folder / 'array.sbatch',
        f"""#!/usr/bin/env bash
#SBATCH --job-name={_word(folder.name)}
#SBATCH --partition={_word(partition)}
#SBATCH --array=1-{len(runs)}%{jobs}
#SBATCH --output={(folder / 'slurm').resolve()}/%a.txt
set -euo pipefail
cd {shlex.quote(str(Path.cwd()))}
eval "$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {shlex.quote(str(commands))})"
""",
    )


def submit(script: Path) -> str:
    """Hand a script to ``sbatch``; returns what it says.

    Raises:
        ConfigError: There is no ``sbatch`` here, or it refused.
    """
    if shutil.which('sbatch') is None:
        raise ConfigError(
            f'--slurm: sbatch is not on the PATH here; the script is written, submit {script} on a login node'
        )
    result = subprocess.run(['sbatch', str(script)], capture_output=True, text=True)
    if result.returncode:
        raise ConfigError(f'--slurm: sbatch refused {script}: {(result.stderr or result.stdout).strip()}')
    return result.stdout.strip()


def _word(text: str) -> str:
    if not text or any(character.isspace() or character in '\'"' for character in text):
        raise ConfigError(f'--slurm: names of partitions and folders have no blanks or quotes, got {text!r}')
    return text
