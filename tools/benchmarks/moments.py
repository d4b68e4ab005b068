"""Time and memory of cutting torchvision's ResNet-50 to half of its channels and repairing it without data.

    python -m tools.benchmarks.moments --threads 2 --out docs/moments_cost.json

glibc keeps freed blocks below 32 MiB for itself; with ``MALLOC_MMAP_THRESHOLD_=65536`` in front of the command they
are given back at once, and the peak is what is really in use.
"""

from collections.abc import Callable

import torch
import torchvision

from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.restorers import MomentRestoration
from tools.benchmarks.harness import Case, run


def prepare(side: int, repair: bool) -> Callable[[], object]:
    """The model, about to be cut."""
    model, example = torchvision.models.resnet50().eval(), torch.randn(1, 3, side, side)
    pruner = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5))
    return lambda: pruner.plan(Scope.of(model, example, '')).apply(MomentRestoration() if repair else None)


def case(args: object) -> Case:
    """With the repair, and without it."""
    sides = {'cut and repaired': lambda: prepare(args.side, True), 'only cut': lambda: prepare(args.side, False)}
    return Case(sides)


if __name__ == '__main__':
    run(__doc__, {'resnet50': case}, {'side': (224, 64)}, rounds=3, warmup=0, fresh=True)
