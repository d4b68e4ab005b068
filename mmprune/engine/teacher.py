"""The dense network of a run: copied before it is cut, and found again when the run is resumed."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.runner import Runner
from torch import nn

from mmprune.checkpoint.state import load, save
from mmprune.engine.runner import checkpoint_of
from mmprune.errors import ConfigError
from mmprune.graph.program import unwrap
from mmprune.storage.files import write_atomically
from mmprune.surgery.plain import copy_of

#: In the work dir; written before anything is cut, so that no checkpoint of the run can be without it.
FILE = 'teacher.pth'


def fingerprint(model: nn.Module) -> str:
    """Hash of all parameters and buffers in the state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f'{name}{tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def keep_teacher(runner: Runner) -> nn.Module:
    """A copy of the network as it is now, also written to the work dir."""
    teacher = copy_of(unwrap(runner.model)).eval()
    if is_main_process():
        save(teacher, Path(runner.work_dir) / FILE, meta={'fingerprint': fingerprint(teacher)})
    barrier()
    return teacher


def recall_teacher(runner: Runner, blank: nn.Module, wanted: str) -> nn.Module:
    """The dense network with which a resumed run began.

    Args:
        runner: Its work dir is searched first, then the folder of the checkpoint that it resumes.
        blank: The network as built from the config; takes the weights (and the cuts of earlier runs).
        wanted: :func:`fingerprint` of the network.

    Raises:
        ConfigError: It is not there, or another network's is.
    """
    beside = Path(str(checkpoint_of(runner) or runner.work_dir)).parent
    folders = dict.fromkeys(Path(folder).absolute() for folder in (runner.work_dir, beside))
    found = [folder / FILE for folder in folders if (folder / FILE).is_file()]
    for path in found:
        teacher = load(copy.deepcopy(blank), path).eval()
        if fingerprint(teacher) == wanted:
            mine = Path(runner.work_dir) / FILE
            if is_main_process() and not mine.is_file():
                write_atomically(mine, path.read_bytes())
            barrier()
            return teacher
    places = ', '.join(str(folder) for folder in folders)
    if found:
        raise ConfigError(
            f'resume: {found[0]} is not the dense network with which this run began (another run wrote '
            'into its work dir); without its teacher it cannot go on, start it anew'
        )
    raise ConfigError(
        f'resume: the dense network that teaches this run is kept beside its checkpoints as {FILE}, '
        f'and there is none in {places}; put it back, or start the run anew'
    )
