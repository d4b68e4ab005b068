"""Time and memory of cutting torchvision's ResNet-50 to half of its channels and repairing it without data.

    python tools/benchmarks/moments.py [--ratio 0.5] [--threads 2] [--repeat 3] [--out moments.json]

Every run is a process of its own. Memory is counted over that of the process with the model in it. glibc keeps freed
blocks below 32 MiB for itself; the second figure, taken with blocks given back at once, is what is really in use.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

#: Targets on two idle cores: seconds, and memory in use as a multiple of the model's.
TARGET_S, TARGET_MEMORY = 15.0, 2.0


def resident_mb() -> float:
    """Resident memory of this process now (Linux)."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def measure(ratio: float, threads: int) -> dict[str, float]:
    """Prune and repair in this process."""
    import torch
    import torch_pruning  # noqa: F401
    import torchvision

    import mmprune
    import mmprune.pruners  # noqa: F401

    torch.set_num_threads(threads)
    imported = resident_mb()
    model = torchvision.models.resnet50().eval()
    built = resident_mb()
    start = time.perf_counter()
    report = mmprune.prune(
        model,
        torch.randn(1, 3, 224, 224),
        pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=ratio)),
        clock_s=0,  # the report's own stopwatch is no part of the work
    )
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return dict(wall_s=seconds, repair_s=report.stages[-1].seconds, model_mb=built - imported, growth_mb=peak - built)


def main() -> None:
    """Run in fresh processes, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--ratio', type=float, default=0.5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeat', type=int, default=3, help='processes; the best counts')
    parser.add_argument('--out', help='JSON file to write')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.ratio, args.threads)))
        return
    command = [sys.executable, __file__, '--child', '--ratio', str(args.ratio), '--threads', str(args.threads)]

    def run(**variables: str) -> dict[str, float]:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
        if done.returncode:
            sys.exit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    result = min((run() for _ in range(args.repeat)), key=lambda found: found['wall_s'])
    result['in_use_mb'] = run(MALLOC_MMAP_THRESHOLD_='65536')['growth_mb']
    result['memory_ratio'] = result['in_use_mb'] / result['model_mb']
    print(
        f'{result["wall_s"]:.1f} s, {result["repair_s"]:.1f} s of them the repair (target {TARGET_S:g} s); '
        f'memory over the process with the model: {result["in_use_mb"]:.0f} MB in use at most, '
        f'{result["memory_ratio"]:.2f} × the model (target {TARGET_MEMORY:g} ×), '
        f'{result["growth_mb"]:.0f} MB resident'
    )
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(dict(network='resnet50', ratio=args.ratio, threads=args.threads, **result), file, indent=1)


if __name__ == '__main__':
    main()
