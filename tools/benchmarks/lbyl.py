"""LBYL against the literal solver, one system per removed filter, on the inner convs of ResNet-50 and on VGG-16.

    python -m tools.benchmarks.lbyl --out FILE

Random weights, batch norms as a trained network has them. The literal solver is tests/oracles/lbyl.py. The difference
is the largest one of any repaired weight.
"""

from functools import partial
from itertools import product

import numpy as np
import torch
import torchvision

from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.restorers.lbyl import LBYL
from mmprune.restorers.mixing import leading_norm
from mmprune.surgery.slicing import complement
from tests.networks import randomise
from tests.oracles import lbyl as oracle
from tools.benchmarks.harness import Case, run

#: Networks, and what stays: convs that more than one conv reads, or that a classifier reads.
NETS = {
    'resnet18': (torchvision.models.resnet18, ['conv1', '*.downsample*', '*.conv2']),
    'resnet50': (torchvision.models.resnet50, ['conv1', '*.downsample*', '*.conv3']),
    'vgg16': (torchvision.models.vgg16_bn, ['classifier*', 'features.40']),
}


def plan(net: str, ratio: float) -> list[tuple]:
    """The sites and the units that they keep."""
    torch.manual_seed(0)
    make, keep = NETS[net]
    model = randomise(make()).eval()
    pruner = ChannelPruner('L2Norm', dict(type='Uniform', ratio=ratio), keep=keep)
    found = pruner.plan(Scope.of(model, torch.zeros(1, 3, 64, 64), ''))
    return [(group.site, found.keeps[group.name]) for group in found.groups if group.name in found.keeps]


def ours(found: list[tuple], mode: str) -> list[np.ndarray]:
    """The readers' kept columns as the product repairs them, each of shape (outputs, kept, taps)."""
    restorer = LBYL(mode)
    restorer.prepare([site for site, _ in found])
    for site, keep in found:
        restorer.restore_site(site, keep)
    return [site.branches[0].read_weight().numpy().transpose(1, 0, 2)[:, keep.numpy()] for site, keep in found]


def literal(found: list[tuple], mode: str) -> list[np.ndarray]:
    """The same literally."""
    solver = oracle.lbyl_exact if mode == 'exact' else oracle.lbyl_reference
    mixed = []
    for site, keep in found:
        branch = site.branches[0]
        gamma, beta, mean, var = (vector.numpy() for vector in leading_norm(branch).parameters())
        if site.producer.bias is not None:
            mean = mean - site.producer.bias.detach().double().numpy()
        removed = complement(keep, site.width).tolist()
        z = solver(site.producer_weight().numpy(), (gamma, beta, mean, var), keep.tolist(), removed, 1e-5, 2e-3)
        weight = branch.read_weight().numpy().transpose(1, 0, 2)
        mixed.append(weight[:, keep.numpy()] + np.matmul(z.T, weight[:, removed]))
    return mixed


def case(net: str, ratio: float, mode: str, _: object) -> Case:
    """One network at one ratio."""
    sides = {
        'literal': lambda: partial(literal, plan(net, ratio), mode),
        'ours': lambda: partial(ours, plan(net, ratio), mode),
    }
    return Case(sides, lambda found: max(float(np.abs(a - b).max()) for a, b in zip(*found.values())))


CASES = {
    f'{net} {ratio} {mode}': partial(case, net, ratio, mode)
    for net, ratio, mode in product(NETS, (0.3, 0.5), ('reference', 'exact'))
}

if __name__ == '__main__':
    run(__doc__, CASES, rounds=1, warmup=0)
