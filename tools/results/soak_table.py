"""The README's tables of what ``make soak`` did, between ``<!-- soak -->`` and ``<!-- end of soak -->``."""

import json
import re
from pathlib import Path

PATH = Path(__file__).parents[2] / 'tests' / 'soak.json'
MEMORY = PATH.with_name('memory.json')
MARKS = re.compile(r'(<!-- soak -->\n).*?(<!-- end of soak -->)', re.DOTALL)
NAMES = {
    'options': 'options of parts, broken',
    'configs': '`pruning` dicts, broken',
    'byte_files': 'checkpoints, bytes damaged',
    'content_files': 'checkpoints, entries swapped',
    'structure_files': 'checkpoints, other structure',
    'json_files': 'reports and other JSON files',
    'code_files': 'checkpoints that would run code',
}


def updated(text: str) -> str:
    """A README's text with the table written anew."""
    return MARKS.sub(lambda match: match[1] + table() + match[2], text) if PATH.exists() else text


def table() -> str:
    """Counts of the last soak."""
    found = json.loads(PATH.read_text())
    lines = ['| tried | number | refused in a line | harmless | lost |', '| --- | --- | --- | --- | --- |']
    if 'kills' in found:
        kills = found['kills']
        stages = ', '.join(f'{name} {count}' for name, count in sorted(kills['stages'].items()))
        lines.append(
            f'| kills (SIGKILL) of {kills["runs"]} runs, resumed; at: {stages} | {kills["kills"]} | – | – | '
            f'{kills["losses"]} |'
        )
    lines += [
        f'| {name} | {found[key]["cases"]:,} | {found[key]["refused"]:,} | {found[key]["harmless"]:,} | '
        f'{found[key]["losses"]} |'
        for key, name in NAMES.items()
        if found.get(key, {}).get('cases')
    ]
    versions = ' '.join(f'{name}={found["versions"][name]}' for name in ('mmprune', 'torch'))
    return f'`make soak`, {found["date"]}, {versions}.\n\n' + '\n'.join(lines) + '\n' + memory()


def memory() -> str:
    """Peak memory of scoring few and many images."""
    if not MEMORY.exists():
        return ''
    found = json.loads(MEMORY.read_text())
    rows = [(name, row['bytes'], row['ratio']) for name, row in found['peaks'].items()]
    counts = list(rows[0][1])
    lines = [
        f'| peak memory of a process, MiB | {" | ".join(f"{int(n):,} images" for n in counts)} | ratio |',
        '| --- |' + ' --- |' * (len(counts) + 1),
    ]
    lines += [
        f'| {name} | {" | ".join(f"{peaks[n] / 2**20:.0f}" for n in counts)} | {ratio:.2f} |'
        for name, peaks, ratio in rows
    ]
    return f'\n{found["network"]}, {found["edge"]} × {found["edge"]} pixels:\n\n' + '\n'.join(lines) + '\n'
