"""Peak memory of scoring with 100 and with 1,000 images (``make soak``; the README shows tests/memory.json).

python -m tools.benchmarks.memory
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torchvision

import mmprune
from tools.benchmarks.harness import ROOT, Case, run

CHANNELS = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.3))


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


def weights(number: int) -> dict:
    """Weights pruned by curves from so many images."""
    curves = dict(num_images=number, points=2, cache=False, progress=False)
    return dict(type='WeightPruner', allocator=dict(type='RateDistortion', ratio=0.2, curves=curves))


#: Arguments of mmprune.prune, from the number of images.
ARGUMENTS = {
    'RedundancyGraph': lambda number: dict(
        pruner=CHANNELS | dict(criterion=dict(type='RedundancyGraph', num_images=number, batch_statistics=False))
    ),
    'MomentOBS on images': lambda _: dict(pruner=CHANNELS | dict(criterion=dict(type='MomentOBS', moments='images'))),
    'RateDistortion': lambda number: dict(pruner=weights(number)),
    'BNRecalibration': lambda _: dict(pruner=CHANNELS, restorer='BNRecalibration'),
}
CASES = {name: partial(case, arguments) for name, arguments in ARGUMENTS.items()}

if __name__ == '__main__':
    options = {'images': (100, 10), 'size': (32, 32)}
    run(__doc__, CASES, options, rounds=1, warmup=0, fresh=True, out=ROOT / 'tests/memory.json')
