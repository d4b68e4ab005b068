"""RedundancyGraph: what its similarities cost beside a forward pass, and parts of it against the literal algorithm.

    python -m tools.benchmarks.redundancy --out FILE

100 Gaussian images; the literal algorithm hashes map by map and compares pair by pair and image by image, networkx
finds maximum cores. The difference of similarities is the largest one, that of cores the number of units.
"""

from collections.abc import Callable
from functools import partial

import networkx as nx
import numpy as np
import torch
import torchvision
from torch import nn

from mmprune.criteria import RedundancyGraph
from mmprune.criteria.redundancy import HashAgreement
from mmprune.criteria.redundancy.decomposition import max_core
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.models import CIFARVGG
from tests.networks import Classifier
from tests.oracles import redundancy_graph as literal
from tools.benchmarks.harness import Case, run

NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    'vgg16': (lambda: Classifier(CIFARVGG(16, last_pool='avg'), 512), 32),
    'resnet50': (torchvision.models.resnet50, 224),
}


def network(name: str, part: str) -> Callable[[], object]:
    """A part of the work on one network."""
    model, size = NETS[name][0]().eval(), NETS[name][1]
    example = torch.zeros(1, 3, size, size)
    scope = Scope.of(model, example)
    groups = [group for group in find_groups(model, scope.forward, example, scope.targets) if group.prunable]
    criterion = RedundancyGraph(threshold=0.7)
    images = criterion.images_for(example, None)

    def similarities() -> None:
        with tracing_mode(model):
            criterion.prepare(groups, scope.forward, images)

    if part == 'decomposition':
        similarities()
        return lambda: [criterion.select(group) for group in groups]
    forward = torch.no_grad()(lambda: [model(batch) for batch in images])
    return similarities if part == 'similarities' else lambda: forward() and None


def of_network(name: str, _: object) -> Case:
    """The parts beside the forward pass that the similarities contain."""
    parts = ('forward only', 'similarities', 'decomposition')
    return Case({part: partial(network, name, part) for part in parts})


def of_layer(channels: int, images: int, size: int, _: object) -> Case:
    """Similarities of one layer."""
    maps = torch.randn(images, channels, size, size).double()

    def ours() -> np.ndarray:
        stream = HashAgreement(channels)
        stream.update(maps[:, :, None])
        return stream.similarity().numpy()

    sides = {'literal': lambda: lambda: literal.similarity(maps.numpy()), 'ours': lambda: ours}
    return Case(sides, lambda found: float(np.abs(found['ours'] - found['literal']).max()))


def of_core(channels: int, density: float, _: object) -> Case:
    """The maximum core of a random graph."""
    upper = np.triu(np.random.default_rng(0).random((channels, channels)) < density, 1)
    edges = upper | upper.T
    sides = {
        'networkx': lambda: lambda: sorted(nx.k_core(nx.from_numpy_array(edges)).nodes),
        'ours': lambda: lambda: max_core(edges).tolist(),
    }
    return Case(sides, lambda found: len(set(found['ours']) ^ set(found['networkx'])))


CASES = {
    **{
        f'one layer, {c} channels': partial(of_layer, c, n, s) for c, n, s in ((16, 20, 32), (64, 10, 16), (128, 2, 8))
    },
    **{f'core of {c} units': partial(of_core, c, d) for c, d in ((64, 0.2), (512, 0.05), (2048, 0.02))},
    **{name: partial(of_network, name) for name in NETS},
}

if __name__ == '__main__':
    run(__doc__, CASES, rounds=3, fresh=True)
