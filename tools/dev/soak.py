"""Kill runs and feed mmprune broken input (``make soak``); counts go into tests/soak.json and the README.

Ends with an error if a run that was killed ended with another network, or if broken input was not refused in a line.
"""

import argparse
import json
import random
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mmprune.report.report import versions
from tests.test_trust import broken_files, fuzz, kills

OUT = Path(__file__).parents[2] / 'tests' / 'soak.json'
CHUNK = 500  # cases in one process, whose memory is limited


def kill_runs(number: int, per_run: int, seed: int) -> dict:
    """Kill runs until ``number`` kills are done, and compare how each of them ends."""
    draw, stages, lost, runs = random.Random(seed), Counter(), [], 0
    with TemporaryDirectory() as root:
        whole = Path(root, 'whole')
        whole.mkdir()
        expected = kills.finish(whole)
        while sum(stages.values()) < number:
            folder, resume = Path(root, f'killed_{runs}'), False
            folder.mkdir()
            for _ in range(min(per_run, number - sum(stages.values()))):
                at = kills.kill(folder, draw, resume)
                if not at:
                    break
                stages[at], resume = stages[at] + 1, True
                print(f'{sum(stages.values())} of {number} kills: {at}', flush=True)
            try:
                kills.assert_same_end(expected, kills.finish(folder, resume))
            except AssertionError as error:
                lost.append(str(error)[:300])
            runs += 1
    return {'kills': sum(stages.values()), 'runs': runs, 'stages': dict(stages), 'losses': len(lost), 'lost': lost}


def feed(cases: object, number: int) -> dict:
    """The answer to broken input."""
    counts, bad, cases = Counter(), [], iter(cases)
    while chunk := list(islice(cases, min(CHUNK, number))):
        number -= len(chunk)
        more, worse = fuzz.met_badly(chunk)
        counts, bad = counts + more, bad + worse
        print(f'{sum(counts.values())} cases, {len(bad)} met badly', flush=True)
    known = {'cases': sum(counts.values()), 'refused': counts['refused'], 'harmless': counts['sound']}
    return {**known, 'losses': len(bad), 'lost': bad}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=40, help='how often to kill a run')
    parser.add_argument('--per-run', type=int, default=8, help='kills before a run may come to its end')
    parser.add_argument('--files', type=int, default=1200, help='broken files')
    parser.add_argument('--configs', type=int, default=600, help='broken pruning dicts; 0: no options of parts either')
    parser.add_argument('--seed', type=int, default=int(time.time()), help='what is broken where')
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, quarter = broken_files.pruned_checkpoint(), args.files // 4
    results = {'date': time.strftime('%Y-%m-%d'), 'seed': args.seed, 'versions': dict(versions())}
    if args.kills:
        results['kills'] = kill_runs(args.kills, args.per_run, args.seed)
    results['options'] = feed(fuzz.part_cases(), 10**9 if args.configs else 0)
    results['configs'] = feed(fuzz.pruning_cases(args.seed), args.configs)
    for name in ('byte', 'content', 'structure'):
        results[f'{name}_files'] = feed(getattr(broken_files, f'{name}_cases')(args.seed, data), quarter)
    with TemporaryDirectory() as folder:
        results['json_files'] = feed(broken_files.json_cases(args.seed, Path(folder)), quarter)
        traps = [(name, broken_files._refused(content)) for name, content in broken_files.traps(Path(folder), data)]
        results['code_files'] = feed(traps, len(traps) if args.files else 0)
        results['code_files']['executed'] = int(Path(folder, 'executed').exists())
    results = {key: value for key, value in results.items() if not isinstance(value, dict) or value.get('cases', 1)}
    args.out.write_text(json.dumps(results, indent=1) + '\n')
    losses = [text for part in results.values() if isinstance(part, dict) for text in part.get('lost', ())]
    print(f'written: {args.out}; {len(losses)} losses', *losses, sep='\n')
    raise SystemExit(bool(losses or results.get('code_files', {}).get('executed')))


if __name__ == '__main__':
    main()
