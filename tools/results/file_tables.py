"""Tables of the README that are not made of cells: speed, and what ``make soak`` did."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from tables import markdown

BROKEN = {
    'options': 'options of parts, broken',
    'configs': '`pruning` dicts, broken',
    'byte_files': 'checkpoints, bytes damaged',
    'content_files': 'checkpoints, entries swapped',
    'structure_files': 'checkpoints, other structure',
    'json_files': 'reports and other JSON files',
    'code_files': 'checkpoints that would run code',
}


def _read(path: str) -> Any:
    return json.loads((Path(__file__).parents[2] / path).read_text())


def speeds(path: str) -> str:
    """Speed-ups of the candidates of tools/benchmarks/detector_speed.py, in every run."""
    runs = _read(path)['runs']
    last = runs[-1]
    loads = ', '.join(f'{run["load_average"][0]:.1f}' + (f' ({run["note"]})' if run['note'] else '') for run in runs)
    rows = []
    for case, side in dict.fromkeys((c, s) for run in runs for c, row in run['cases'].items() for s in row['sides']):
        found = [row for run in runs if side in (row := run['cases'].get(case, {})).get('times_faster', ())]
        if found:
            left = dict.fromkeys(f'{100 * row["flops_left"][side]:.1f}' for row in found)
            times = (f'{row["times_faster"][side]:.2f}' for row in found)
            dense = median(row['sides']['dense']['p50_ms'] for row in found)
            rows.append([case, side, f'{" and ".join(left)} %', ' and '.join(times), f'{dense:.0f}'])
    head = ['what runs', 'what was cut', 'FLOPs of the cut part left', 'times faster', 'dense, ms']
    return (
        f'{len(runs)} runs, {last["threads"]} threads, detector at 1×3×{last["settings"]["height"]}×'
        f'{last["settings"]["width"]}, torch {last["versions"]["torch"]}. Load averages of the minute before: {loads}.'
        f'\n\n{markdown(head, rows)}'
    )


def soak(path: str) -> str:
    """Counts of the last soak (tests/soak.json)."""
    found, rows = _read(path), []
    if kills := found.get('kills'):
        stages = ', '.join(f'{name} {count}' for name, count in sorted(kills['stages'].items()))
        name = f'kills (SIGKILL) of {kills["runs"]} runs, resumed; at: {stages}'
        rows.append([name, str(kills['kills']), '–', '–', str(kills['losses'])])
    for key, name in BROKEN.items():
        if (part := found.get(key, {})).get('cases'):
            counts = (part[column] for column in ('cases', 'refused', 'harmless', 'losses'))
            rows.append([name, *(f'{count:,}' for count in counts)])
    versions = ' '.join(f'{name}={found["versions"][name]}' for name in ('mmprune', 'torch'))
    head = ['tried', 'number', 'refused in a line', 'harmless', 'lost']
    return f'`make soak`, {found["date"]}, {versions}.\n\n{markdown(head, rows)}'


def memory(path: str) -> str:
    """Peak memory of scoring few and many images (tests/memory.json)."""
    run, rows, counts = _read(path)['runs'][-1], [], []
    for name, case in run['cases'].items():
        peaks = {side: figures['peak_mib'] for side, figures in case['sides'].items()}
        counts, (first, *_, last) = list(peaks), peaks.values()
        rows.append([name, *(f'{peak:.0f}' for peak in peaks.values()), f'{last / first:.2f}'])
    size = run['settings']['size']
    return (
        f'resnet18, {size} × {size} pixels:\n\n{markdown(["peak memory of a process, MiB", *counts, "ratio"], rows)}'
    )


def similarity(path: str) -> str:
    """Agreement of similarities without images and of real images (configs/redundancy_graph/similarity.json)."""
    head = ['hash', 'inputs', 'against', 'correlation: mean (min … max)', 'first layer', 'RMSE: mean', 'first layer']
    rows = []
    for row in _read(path):
        spread = '{mean:.2f} ({min:.2f} … {max:.2f})'.format(**row['correlation'])
        firsts = [f'{row[key]["first_layer"]:.3f}' for key in ('correlation', 'rmse')]
        hashed = 'with dc' if row['dc'] else 'dc=False'
        rows.append(
            [hashed, row['inputs'], row['against'], spread, firsts[0], f'{row["rmse"]["mean"]:.3f}', firsts[1]]
        )
    return markdown(head, rows)
