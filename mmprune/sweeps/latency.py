"""The time that the networks of a sweep take, one after the other when all runs are through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from mmprune.engine.cli import load_model
from mmprune.engine.config import make_loadable_config
from mmprune.measure.latency import measure_latency
from mmprune.storage.files import write_atomically
from mmprune.sweeps.launch import Run

#: What the last stage of a run leaves its network in.
CHECKPOINTS = {'finetuned': 'finetuned.pth', 'restored': 'pruned.pth', 'pruned': 'pruned.pth'}


def measure_missing(runs: Sequence[Run], device: str = 'cpu', repeats: int = 30) -> Iterator[Run]:
    """Time the first finished run of every cell against the dense network, the two in turn; yields what was timed.

    The result stands in ``latency.json`` in the run's folder, with the time stamp of the checkpoint that it is of: a
    network that was timed is not timed again.

    Args:
        runs: Those of :func:`~mmprune.sweeps.launch.runs_of`.
        device: Where the networks run.
        repeats: Counted forward passes of each, of one image of the config's ``pruning.input_shape``.
    """
    timed = set()
    for run in runs:
        checkpoint = run.folder / CHECKPOINTS[run.last_stage]
        if run.cell.name in timed or run.report() is None or not checkpoint.exists():
            continue
        timed.add(run.cell.name)
        circumstances = dict(
            stamp=checkpoint.stat().st_mtime_ns, device=device, threads=torch.get_num_threads(), repeats=repeats
        )
        if (read(run.folder) or {}).items() >= circumstances.items():
            continue
        cfg = make_loadable_config(run.cell.config.copy())
        pruned, image = load_model(cfg, str(checkpoint), device=device)
        dense, _ = load_model(cfg, None, device=device)
        found = measure_latency({'dense': partial(dense, image), 'pruned': partial(pruned, image)}, repeats)
        content = {**circumstances, 'input_shape': list(image.shape), **{key: asdict(v) for key, v in found.items()}}
        write_atomically(run.folder / 'latency.json', json.dumps(content, indent=1) + '\n')
        yield run


def read(folder: Path) -> dict | None:
    """Measured latencies of the run in a folder; None if nothing was measured, or an earlier network."""
    with suppress(FileNotFoundError, ValueError, KeyError):
        content = json.loads((folder / 'latency.json').read_text())
        stamps = {path.stat().st_mtime_ns for name in set(CHECKPOINTS.values()) if (path := folder / name).exists()}
        return content if content['stamp'] in stamps and content['dense']['p50_ms'] > 0 else None
    return None
