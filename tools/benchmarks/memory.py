"""Peak memory of scoring with 100 and with 1,000 images (``make soak``; the README shows tests/memory.json).

python -m tools.benchmarks.memory
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torchvision

import mmprune
from tools.benchmarks.harness import ROOT, Case, run

UNIFORM = dict(type='Uniform', ratio=0.3)


def graph(number: int) -> dict:
    """Arguments of mmprune.prune, as in the functions below."""
    criterion = dict(type='RedundancyGraph', num_images=number, batch_statistics=False)
    return dict(pruner=dict(type='ChannelPruner', criterion=criterion, allocator=UNIFORM))


def moments(_: int) -> dict:
    criterion = dict(type='MomentOBS', moments='images')
    return dict(pruner=dict(type='ChannelPruner', criterion=criterion, allocator=UNIFORM))


def distortion(number: int) -> dict:
    curves = dict(num_images=number, points=2, cache=False, progress=False)
    return dict(pruner=dict(type='WeightPruner', allocator=dict(type='RateDistortion', ratio=0.2, curves=curves)))


def recalibration(_: int) -> dict:
    return dict(pruner=dict(type='ChannelPruner', allocator=UNIFORM), restorer='BNRecalibration')


class Stream:
    """Images that are made when they are asked for, as a data loader's are."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size

    def __iter__(self) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.number, 20):
            yield torch.randn(min(20, self.number - start), 3, self.size, self.size, generator=generator)


def prepare(arguments: Callable[[int], dict], number: int, size: int) -> Callable[[], object]:
    """ResNet-18, about to be pruned."""
    model, example = torchvision.models.resnet18(num_classes=10).eval(), torch.zeros(1, 3, size, size)
    given = {'restorer': None, **arguments(number)}
    return lambda: mmprune.prune(model, example, images=Stream(number, size), clock_s=0, **given)


def case(arguments: Callable[[int], dict], args: object) -> Case:
    """Few and many images."""
    counts = (args.images, 10 * args.images)
    return Case({f'{count:,} images': partial(prepare, arguments, count, args.size) for count in counts})


CASES = {
    'RedundancyGraph': partial(case, graph),
    'MomentOBS on images': partial(case, moments),
    'RateDistortion': partial(case, distortion),
    'BNRecalibration': partial(case, recalibration),
}

if __name__ == '__main__':
    options = {'images': (100, 10), 'size': (32, 32)}
    run(__doc__, CASES, options, rounds=1, warmup=0, fresh=True, out=ROOT / 'tests/memory.json')
