"""How long RedundancyGraph takes, and how much faster it is than the literal algorithm in the same run.

python tools/benchmarks/redundancy.py --nets vgg16 resnet50 --out out.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import torch
import torchvision
from torch import nn

from mmprune.criteria import RedundancyGraph
from mmprune.criteria.redundancy import SimilarityStream, decompose
from mmprune.criteria.redundancy.decomposition import max_core
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.models import CIFARVGG
from tests.oracles import redundancy_graph as literal


class Classifier(nn.Module):
    """A backbone, average pooling and a linear layer, so that every conv may be pruned."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.backbone(x)[-1].mean(dim=(2, 3)))


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    'vgg16': (lambda: Classifier(CIFARVGG(16, last_pool='avg'), 512), 32),
    'resnet50': (lambda: torchvision.models.resnet50(), 224),
}


def clock(work: Callable[[], object], clock_s: Callable[[], float] = time.process_time) -> tuple[object, float]:
    """What the work returns, and its CPU time (of all threads) in seconds: a busy machine does not change that."""
    start = clock_s()
    return work(), clock_s() - start


def whole_network(name: str, threshold: float, group_reduce: str) -> dict:
    """Similarities from 100 Gaussian images, then the decomposition of every layer."""
    build, size = NETS[name]
    torch.manual_seed(0)
    model, example = build().eval(), torch.zeros(1, 3, size, size)
    scope = Scope.of(model, example)
    groups = [group for group in find_groups(model, scope.forward, example, scope.targets) if group.prunable]
    criterion = RedundancyGraph(threshold=threshold, group_reduce=group_reduce)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    images = list(criterion.images_for(example, None))

    def forward_only() -> None:
        with torch.no_grad():
            for batch in images:
                model(batch)

    with tracing_mode(model):
        _, forward_s = clock(forward_only)
        wall_s = time.perf_counter()
        _, score_s = clock(lambda: criterion.prepare(groups, scope.forward, criterion.images_for(example, None)))
        wall_s = time.perf_counter() - wall_s
    kept, decompose_s = clock(lambda: sum(len(criterion.select(group)) for group in groups))
    _, order_s = clock(lambda: [criterion.scores(group) for group in groups])
    return {
        'net': name,
        'graphs': len(groups),
        'images': 100,
        'input': size,
        'group_reduce': group_reduce,
        'forward_only_cpu_s': round(forward_s, 2),
        'score_cpu_s': round(score_s, 2),
        'score_wall_s': round(wall_s, 2),
        'decompose_cpu_s': round(decompose_s, 3),
        'removal_order_cpu_s': round(order_s, 3),
        'kept': kept,
        'total': sum(group.width for group in groups),
        'memory_before_mb': round(before),
        'peak_memory_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
    }


def against_literal(channels: int, images: int, size: int) -> dict:
    """One layer: hashes and similarities, the literal way (its pairs × images loop) and ours; both must agree."""
    maps = torch.randn(images, channels, size, size, generator=torch.Generator().manual_seed(0)).double()

    def ours() -> np.ndarray:
        stream = SimilarityStream(channels)
        stream.update(maps[:, :, None])
        return stream.similarity().numpy()

    ours()
    fast, fast_s = min((clock(ours) for _ in range(5)), key=lambda result: result[1])
    slow, slow_s = clock(lambda: literal.similarity(maps.numpy()))
    return {
        'channels': channels,
        'images': images,
        'size': size,
        'literal_s': round(slow_s, 2),
        'ours_s': round(fast_s, 5),
        'ratio': round(slow_s / fast_s),
        'largest_difference': float(np.abs(fast - slow).max()),
    }


def cores(channels: int, density: float) -> dict:
    """The maximum core of a random graph: ours, networkx; and the whole decomposition."""
    rng = np.random.default_rng(0)
    similarity = np.triu(rng.random((channels, channels)), 1)
    similarity += similarity.T
    edges = similarity >= 1 - density
    np.fill_diagonal(edges, False)
    fast, fast_s = min((clock(lambda: max_core(edges)) for _ in range(5)), key=lambda result: result[1])
    slow, slow_s = clock(lambda: nx.k_core(nx.from_numpy_array(edges)))
    _, whole_s = clock(lambda: decompose(similarity, 1 - density, rng.random(channels)))
    assert fast.tolist() == sorted(slow.nodes)
    return {
        'channels': channels,
        'density': density,
        'networkx_s': round(slow_s, 3),
        'ours_s': round(fast_s, 4),
        'ratio': round(slow_s / fast_s),
        'decompose_s': round(whole_s, 4),
    }


def main() -> None:
    """Print and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nets', nargs='*', choices=NETS, default=list(NETS))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--threshold', type=float, default=0.7)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = {'threads': args.threads, 'load_before': os.getloadavg()[0], 'networks': [], 'one_layer': [], 'core': []}
    for name in args.nets:  # first, so that peak memory is theirs
        result['networks'].append(whole_network(name, args.threshold, 'lead'))
        print(result['networks'][-1], flush=True)
    for channels, images, size in ((16, 20, 32), (64, 10, 16), (512, 1, 8)):
        result['one_layer'].append(against_literal(channels, images, size))
        print(result['one_layer'][-1], flush=True)
    for channels, density in ((64, 0.2), (512, 0.05), (2048, 0.02)):
        result['core'].append(cores(channels, density))
        print(result['core'][-1], flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
