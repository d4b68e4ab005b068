"""How long graphs take, and what sparse layers cost: graphs of a network, the literal routine, gathered convolutions.

    python tools/benchmarks/expanders.py graphs --threads 2
    python tools/benchmarks/expanders.py convs --threads 1
    python tools/benchmarks/expanders.py network --threads 1

`graphs` draws the graphs of all layers of VGG-16-BN without selection and as the best of 100 with 1,000 samples each,
and in the same run times the literal algorithm on one layer. `convs` compares dense convolutions with three ways of
computing only what the graph keeps; `network` compares VGG-16-BN before and after `gather_convs`.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for tests.oracles

from mmprune.api import prune  # noqa: E402
from mmprune.expanders import RandomRegular  # noqa: E402
from mmprune.expanders.base import edge_count  # noqa: E402
from mmprune.expanders.gathered import GatheredConv2d, gather_convs  # noqa: E402
from mmprune.expanders.sparse_layer import SparseLayer  # noqa: E402
from mmprune.models import CIFARVGG, MLPNeck  # noqa: E402
from mmprune.pruners import ExpanderPruner  # noqa: E402
from mmprune.surgery.masking import remove_masks  # noqa: E402
from tests.oracles import expanders as literal  # noqa: E402

#: Layers of VGG-16-BN: inputs, outputs, side of the feature map.
LAYERS = ((64, 64, 32), (64, 128, 16), (128, 256, 8), (256, 512, 4), (512, 512, 4), (512, 512, 2))
DEGREES = (3, 15, 30, 60)


def seconds(call: Callable[[], object], runs: int = 1) -> float:
    """Least wall time of a call, in s: other work on the machine only adds to it."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def graphs(candidates: int, samples: int) -> dict:
    """All layers of VGG-16-BN, and one layer by the literal routine."""
    net = nn.Sequential(CIFARVGG(16, bias=False), MLPNeck(512, dropout=0.5))
    layers = [SparseLayer.of(name, m) for name, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    found = {'layers': len(layers), 'candidates': candidates, 'samples': samples, 'degrees': {}}
    for degree in (3, 60):
        times = {}
        for key, select in (('plain_s', None), ('best_s', dict(candidates=candidates, samples=samples))):
            pruner = ExpanderPruner('RandomRegular', degree=degree, select=select, seed=0)
            counts = {layer.name: edge_count(layer.inputs, layer.outputs, degree, 'max') for layer in layers}
            times[key] = seconds(lambda p=pruner, c=counts: [p.graphs(layer, c[layer.name]) for layer in layers])
        random.seed(0)
        graph = literal.random_regular(512, 512, degree)
        share = samples * candidates / 20
        times['literal_512x512_s'] = candidates * seconds(lambda d=degree: literal.random_regular(512, 512, d), 3) + (
            share * seconds(lambda g=graph: literal.expansion(g, 512, 512, 20), 3)
        )
        one = next(layer for layer in layers if (layer.inputs, layer.outputs) == (512, 512))
        times['own_512x512_s'] = seconds(lambda p=pruner, c=counts, o=one: p.graphs(o, c[o.name]))
        found['degrees'][degree] = times
        print(
            f'd={degree}: {len(layers)} layers {times["plain_s"]:.2f} s, best of {candidates} ({samples} samples) '
            f'{times["best_s"]:.1f} s; 512x512 alone {times["own_512x512_s"]:.2f} s, literally '
            f'{times["literal_512x512_s"]:.0f} s (extrapolated from 20 samples)',
            flush=True,
        )
    return found


class Gathered:
    """A sparse 3x3 convolution without the zeros, for graphs whose outputs have equally many inputs."""

    def __init__(self, weight: Tensor, graph: np.ndarray, outputs: int) -> None:
        self.outputs = outputs
        index = np.stack([np.flatnonzero(column) for column in graph.T])  # (outputs, degree)
        self.index = torch.from_numpy(index)
        self.weight = torch.stack([weight[o, self.index[o]] for o in range(outputs)])  # (outputs, degree, 3, 3)
        rows = torch.arange(outputs)[:, None, None].expand(outputs, index.shape[1], 9)
        columns = self.index[:, :, None] * 9 + torch.arange(9)
        dense = torch.zeros(outputs, graph.shape[0] * 9)
        dense[rows.flatten(), columns.flatten()] = self.weight.flatten()
        self.csr = dense.to_sparse_csr()

    def grouped(self, x: Tensor) -> Tensor:
        """Gather the input planes of every output, then a grouped convolution."""
        return F.conv2d(x[:, self.index.flatten()], self.weight, padding=1, groups=self.outputs)

    def sparse(self, x: Tensor) -> Tensor:
        """A sparse matrix times the unfolded input."""
        columns = F.unfold(x, 3, padding=1)  # (N, 9·inputs, H·W)
        flat = columns.permute(1, 0, 2).reshape(columns.shape[1], -1)
        return (self.csr @ flat).reshape(self.outputs, x.shape[0], *x.shape[2:]).transpose(0, 1)


def convs(batch: int, runs: int) -> dict:
    """Wall time per layer and batch, in ms."""
    found = []
    print(f'{"layer":>22} {"degree":>6} {"dense ms":>9} {"grouped":>9} {"depthwise":>9} {"csr":>9}  best speed-up')
    for inputs, outputs, side in LAYERS:
        for degree in DEGREES:
            # every output reads equally many inputs, so that no kernel has to be padded
            edges = edge_count(inputs, outputs, degree, 'max')
            per_output = edges // outputs
            graph = RandomRegular().draw(inputs, outputs, per_output * outputs, np.random.default_rng(0))
            mask = torch.from_numpy(np.ascontiguousarray(graph.T))[:, :, None, None]
            weight, x = torch.randn(outputs, inputs, 3, 3) * mask, torch.randn(batch, inputs, side, side)
            own = Gathered(weight, graph, outputs)
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            conv.weight.data = weight
            own.depthwise = GatheredConv2d(conv)
            with torch.no_grad():
                expected = F.conv2d(x, weight, padding=1)
                times = {'dense': 1e3 * seconds(lambda x=x, w=weight: F.conv2d(x, w, padding=1), runs)}
                for key in ('grouped', 'depthwise', 'sparse'):
                    if key == 'depthwise' and per_output > 15:
                        continue
                    call = getattr(own, key)
                    assert torch.allclose(call(x), expected, atol=1e-2), key
                    times[key] = 1e3 * seconds(lambda x=x, c=call: c(x), runs)
            best = times['dense'] / min(value for key, value in times.items() if key != 'dense')
            found.append(
                dict(inputs=inputs, outputs=outputs, side=side, degree=per_output, ms=times, speedup=round(best, 2))
            )
            cells = ' '.join(
                f'{times[k]:9.2f}' if k in times else f'{"–":>9}' for k in ('dense', 'grouped', 'depthwise', 'sparse')
            )
            print(f'{inputs:>5} → {outputs:<4} {side:>3}×{side:<3}   {per_output:>6} {cells}  {best:.2f}', flush=True)
    return {'batch': batch, 'runs': runs, 'convs': found}


def network(batch: int, runs: int) -> dict:
    """VGG-16-BN on 32x32 images: dense convolutions with zeros against gathered ones, least wall time in ms."""
    found, images = [], torch.randn(batch, 3, 32, 32)
    print(f'{"graph":>14} {"degree":>6} {"dense ms":>9} {"gathered":>9}  speed-up  layers replaced')
    for graph in ('RandomRegular', 'XNet'):
        for degree in DEGREES:
            torch.manual_seed(0)
            dense = nn.Sequential(CIFARVGG(16, bias=False), MLPNeck(512, dropout=0.5)).eval()
            prune(dense, images, pruner=dict(type='ExpanderPruner', graph=graph, degree=degree, dense_head=False))
            sparse = copy.deepcopy(dense)
            layers = gather_convs(sparse, images)
            remove_masks(dense)
            with torch.no_grad():
                times = [[], []]
                for _ in range(runs):  # alternating, so that other work on the machine meets both
                    for net, own in zip((dense, sparse), times):
                        own.append(1e3 * seconds(lambda n=net: n(images)))
            before, after = (min(own) for own in times)
            replaced = sum(layer.replaced for layer in layers)
            found.append(dict(graph=graph, degree=degree, dense_ms=before, gathered_ms=after, replaced=replaced))
            print(
                f'{graph:>14} {degree:>6} {before:9.1f} {after:9.1f}  {before / after:8.2f}  '
                f'{replaced} of {len(layers)}',
                flush=True,
            )
    return {'batch': batch, 'runs': runs, 'networks': found}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['graphs', 'convs', 'network'])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--candidates', type=int, default=100)
    parser.add_argument('--samples', type=int, default=1000)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--runs', type=int, default=15)
    parser.add_argument('--out', type=Path, help='also write the figures to this JSON file')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == 'graphs':
        found = graphs(args.candidates, args.samples)
    else:
        found = {'convs': convs, 'network': network}[args.what](args.batch, args.runs)
    found |= {'threads': args.threads, 'torch': torch.__version__, 'numpy': np.__version__}
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + '\n')


if __name__ == '__main__':
    main()
