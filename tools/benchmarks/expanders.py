"""Time of graphs beside the literal routine, and costs of layers and networks that compute the edges only.

    python -m tools.benchmarks.expanders --cases graphs* network* --threads 2

`graphs`: the best of some candidates, one 512 × 512 layer drawn and scored literally and by us, and all layers of
VGG-16-BN. `layer`: a dense 3 × 3 convolution with zeros, the same gathered, and as a sparse matrix times the unfolded
input. `network`: VGG-16-BN on 32 × 32 images before and after `gather_convs`.
"""

import copy
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mmprune
from mmprune.expanders import RandomRegular
from mmprune.expanders.base import edge_count
from mmprune.expanders.gathered import GatheredConv2d, gather_convs
from mmprune.expanders.sparse_layer import SparseLayer
from mmprune.models import CIFARVGG, MLPNeck
from mmprune.pruners import ExpanderPruner
from mmprune.surgery.masking import remove_masks
from tests.oracles import expanders as literal
from tools.benchmarks.harness import Case, run


def vgg16() -> nn.Module:
    """VGG-16-BN without biases."""
    return nn.Sequential(CIFARVGG(16, bias=False), MLPNeck(512, dropout=0.5)).eval()


def of_graphs(degree: int, args: object) -> Case:
    """Drawing and choosing graphs."""
    layers = [SparseLayer.of(name, m) for name, m in vgg16().named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    one = [next(layer for layer in layers if (layer.inputs, layer.outputs) == (512, 512))]
    best = dict(candidates=args.candidates, samples=args.samples)

    def draw(which: list[SparseLayer], select: dict | None) -> None:
        pruner = ExpanderPruner('RandomRegular', degree=degree, select=select, seed=0)
        for layer in which:
            pruner.graphs(layer, edge_count(layer.inputs, layer.outputs, degree, 'max'))

    def literally() -> None:
        random.seed(0)
        literal.best_regular(512, 512, degree, args.candidates, args.samples)

    calls = {
        'literal, one layer': literally,
        'one layer': partial(draw, one, best),
        'all layers': partial(draw, layers, best),
        'all layers, no selection': partial(draw, layers, None),
    }
    return Case({name: lambda c=call: c for name, call in calls.items()}, facts={'layers': len(layers)})


def of_layer(inputs: int, outputs: int, side: int, degree: int, args: object) -> Case:
    """One convolution; every output reads equally many inputs, so that no kernel has to be padded."""
    edges = edge_count(inputs, outputs, degree, 'max') // outputs * outputs
    graph = RandomRegular().draw(inputs, outputs, edges, np.random.default_rng(0))
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False).requires_grad_(False)
    conv.weight *= torch.from_numpy(np.ascontiguousarray(graph.T))[:, :, None, None]
    x, gathered, matrix = torch.randn(args.batch, inputs, side, side), GatheredConv2d(conv), conv.weight.flatten(1)
    matrix = matrix.to_sparse_csr()

    def unfolded() -> Tensor:
        columns = F.unfold(x, 3, padding=1).permute(1, 0, 2)
        return (matrix @ columns.flatten(1)).reshape(outputs, len(x), side, side).transpose(0, 1)

    sides = {'dense': lambda: partial(conv, x), 'gathered': lambda: partial(gathered, x), 'CSR': lambda: unfolded}
    return Case(sides, _largest)


def of_network(graph: str, degree: int, args: object) -> Case:
    """The whole network."""
    images, facts = torch.randn(args.batch, 3, 32, 32), {}
    dense = vgg16()
    pruner = dict(type='ExpanderPruner', graph=graph, degree=degree, dense_head=False)
    mmprune.prune(dense, images, pruner=pruner, restorer=None)
    sparse = copy.deepcopy(dense)
    remove_masks(dense)

    def gathered() -> Callable[[], object]:
        layers = gather_convs(sparse, images)
        facts['replaced'] = f'{sum(layer.replaced for layer in layers)} of {len(layers)}'
        return lambda: sparse(images)

    return Case({'dense': lambda: lambda: dense(images), 'gathered': gathered}, facts=facts)


def _largest(found: dict[str, Tensor]) -> float:
    return max(float((value - found['dense']).abs().max()) for value in found.values())


DEGREES = (3, 15, 30, 60)
CASES = {
    **{f'graphs d={degree}': partial(of_graphs, degree) for degree in (3, 60)},
    **{
        f'layer {i} → {o}, {s}×{s} d={degree}': partial(of_layer, i, o, s, degree)
        for i, o, s in ((64, 64, 32), (128, 256, 8), (512, 512, 4))
        for degree in DEGREES
    },
    **{
        f'network {g} d={degree}': partial(of_network, g, degree)
        for g in ('RandomRegular', 'XNet')
        for degree in DEGREES
    },
}

if __name__ == '__main__':
    run(__doc__, CASES, {'batch': (8, 1), 'candidates': (100, 2), 'samples': (1000, 5)}, rounds=5)
