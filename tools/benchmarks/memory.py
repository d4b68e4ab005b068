"""Peak memory of scoring with 100 and with 1,000 images, each in a process of its own (``make soak``)."""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
import torchvision

import mmprune
from mmprune.storage.files import write_atomically

OUT = Path(__file__).parents[2] / 'tests' / 'memory.json'

CASES = {
    'RedundancyGraph': dict(
        pruner=lambda n: dict(
            type='ChannelPruner',
            criterion=dict(type='RedundancyGraph', num_images=n, batch_statistics=False),
            allocator=dict(type='Uniform', ratio=0.3),
        )
    ),
    'MomentOBS on images': dict(
        pruner=lambda n: dict(
            type='ChannelPruner',
            criterion=dict(type='MomentOBS', moments='images'),
            allocator=dict(type='Uniform', ratio=0.3),
        )
    ),
    'RateDistortion': dict(
        pruner=lambda n: dict(
            type='WeightPruner',
            allocator=dict(
                type='RateDistortion', ratio=0.2, curves=dict(num_images=n, points=2, cache=False, progress=False)
            ),
        )
    ),
    'BNRecalibration': dict(
        restorer='BNRecalibration',
        pruner=lambda n: dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.3)),
    ),
}


class Stream:
    """Images that are made when they are asked for, as a data loader's are."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size

    def __iter__(self) -> object:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.number, 20):
            yield torch.randn(min(20, self.number - start), 3, self.size, self.size, generator=generator)


def measure(name: str, number: int, size: int) -> int:
    """Peak resident memory of this process in bytes, after one pruning."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    case, model = CASES[name], torchvision.models.resnet18(num_classes=10).eval()
    mmprune.prune(
        model,
        torch.zeros(1, 3, size, size),
        pruner=case['pruner'](number),
        restorer=case.get('restorer'),
        images=Stream(number, size),
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, nargs='+', default=[100, 1000])
    parser.add_argument('--size', type=int, default=32, help='edge of the images')
    parser.add_argument('--cases', nargs='+', default=list(CASES), choices=list(CASES))
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    parser.add_argument('--out', type=Path, default=OUT)
    args = parser.parse_args()
    if args.one:
        print(measure(args.one[0], int(args.one[1]), args.size))
        return
    results = {}
    for name in args.cases:
        peaks = {}
        for number in args.images:
            done = subprocess.run(
                [sys.executable, __file__, '--size', str(args.size), '--one', name, str(number)],
                check=True,
                capture_output=True,
                text=True,
            )
            peaks[number] = int(done.stdout.split()[-1])
        results[name] = {'bytes': peaks, 'ratio': peaks[args.images[-1]] / peaks[args.images[0]]}
        print(
            name,
            {key: f'{value / 2**20:.0f} MiB' for key, value in peaks.items()},
            f'ratio {results[name]["ratio"]:.3f}',
            flush=True,
        )
    found = {'network': 'resnet18', 'edge': args.size, 'peaks': results}
    write_atomically(args.out, json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    main()
