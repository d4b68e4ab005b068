"""One iteration of DeepInversion against the literal step, on ResNet-56 for CIFAR-10 and DFBF's ResNet-18.

    python -m tools.benchmarks.synthesis --out configs/dfbf/benchmark_synthesis.json

The literal step is tests/oracles/deep_inversion.py: parameters with gradients, mean and variance apart. Weights are
random. The difference is that of the losses before the first step, relative to them.
"""

from collections.abc import Callable
from functools import partial

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmprune.graph.scope import Scope
from mmprune.images import DeepInversion
from mmprune.images.inverted_network import InvertedNetwork
from mmprune.images.phase import Phase
from mmprune.images.pixel_range import pixel_range
from mmprune.registry import MODELS
from tests.oracles import deep_inversion as oracle
from tools.benchmarks.harness import Case, run

NETS = {'resnet56': 'resnet56_nm_cifar.py', 'resnet18': 'resnet18_dfbf_cifar.py'}
WEIGHTS = dict(main=1.0, bn=10.0, first_bn=1.0, tv1=0.0, tv2=1e-3, l2=0.0, l2_norm='batch')


def iteration(who: str, net: str, batch: int) -> Callable[[], float]:
    """A function that does one iteration of one side and returns the loss before it."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(f'configs/_base_/models/{NETS[net]}').model).eval()
    moves, labels, x = torch.Generator().manual_seed(0), torch.arange(batch) % 10, torch.randn(batch, 3, 32, 32)
    low, high = pixel_range('imagenet', model, 3)
    phase, synthesizer = Phase(2000, jitter=2), DeepInversion()
    if who == 'ours':
        network = InvertedNetwork(Scope.of(model, torch.zeros(1, 3, 32, 32)))
        x = x.contiguous(memory_format=torch.channels_last)
        bounds = tuple(torch.tensor(end).view(-1, 1, 1) for end in (low, high))
    x.requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1, betas=(0.9, 0.99))

    def ours() -> float:
        with network.fixed():
            losses = synthesizer.step(network, x, labels, optimizer, phase.draw(False, moves), bounds)
        return float(losses['total'].detach())

    def literal() -> float:
        moved = phase.draw(False, moves) | dict(low=low, high=high)
        losses = oracle.step(
            model, lambda images: model(images, mode='tensor'), x, labels, optimizer, **moved, **WEIGHTS
        )
        return float(losses['total'].detach())

    return ours if who == 'ours' else literal


def case(net: str, args: object) -> Case:
    """One network."""
    sides = {who: partial(iteration, who, net, args.batch) for who in ('literal', 'ours')}
    return Case(sides, lambda losses: abs(losses['ours'] / losses['literal'] - 1))


if __name__ == '__main__':
    run(__doc__, {net: partial(case, net) for net in NETS}, {'batch': (64, 4)}, rounds=5, fresh=True)
