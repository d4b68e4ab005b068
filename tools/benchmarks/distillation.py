"""One iteration of DFBF's fine-tuning against the published program's.

    python -m tools.benchmarks.distillation --out FILE

The literal iteration hooks the blocks, and its teacher runs with gradients. Both start from the same weights, half of
the inner channels gone, and see the same images; the difference is that of the first losses, relative to them.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

import mmprune
from mmprune.distillation import FeatureDistillation
from mmprune.models import CIFARVGG, CIFARResNet, WideCIFARResNet
from tests.oracles.distillation import literal_loss
from tools.benchmarks.harness import Case, run

RESIDUAL = ['conv1', '*.conv2', '*.downsample*']
NETS = {
    'resnet18': (lambda: WideCIFARResNet(18, stem_pool=True), RESIDUAL),
    'resnet56': (lambda: CIFARResNet(56, shortcut='conv1x1'), RESIDUAL),
    'vgg16': (lambda: CIFARVGG(16), [f'features.{conv}' for conv in (0, 3, 10, 20, 30, 40)]),
}


class Host(nn.Module):
    """A model with nothing but a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> object:
        """Features."""
        return self.backbone(images)


def iteration(kind: str, net: str, batch: int) -> Callable[[], float]:
    """A function that does one iteration and returns its loss."""
    torch.manual_seed(0)
    images, (make, keep) = torch.randn(batch, 3, 32, 32), NETS[net]
    student = Host(make())
    teacher = copy.deepcopy(student).eval()
    pruner = dict(type='ChannelPruner', keep=keep, allocator=dict(type='Uniform', ratio=0.5))
    mmprune.prune(student, images[:1], 'backbone', pruner, restorer=None)
    loss = FeatureDistillation(bn='train').loss(student.train(), teacher, ['backbone'], images[:1])
    points = [point.name for point, _ in loss.terms.values()]
    teacher.requires_grad_(kind == 'literal')
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        optimizer.zero_grad()
        ours = kind == 'ours'
        total = sum(loss(images).values()) if ours else literal_loss(student, teacher, images, points)
        total.backward()
        optimizer.step()
        return total.item()

    return step


def case(net: str, args: object) -> Case:
    """One network."""
    sides = {kind: partial(iteration, kind, net, args.batch) for kind in ('literal', 'ours')}
    return Case(sides, lambda losses: abs(losses['ours'] / losses['literal'] - 1))


if __name__ == '__main__':
    run(__doc__, {net: partial(case, net) for net in NETS}, {'batch': (64, 4)}, rounds=7, fresh=True)
