"""Measuring rate-distortion curves against the literal loop, on every n-th layer of RD_PRUNE's ResNet-32.

    python -m tools.benchmarks.curves --threads 2 --out docs/curves_cost.json

Random weights, N(0, 1) images. The literal loop prunes a copy for every point and runs all images through the whole
network in one batch. Both have processes of their own, so that nothing that ours sets (where freed memory goes) helps
the other. The difference is the largest one of a curve, relative to the curve's largest value.
"""

from functools import partial

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmprune.distortion import CurveMeasurer
from mmprune.graph.scope import Scope
from mmprune.images import as_source
from mmprune.pruners.weight import weight_cut
from mmprune.registry import MODELS
from tests.oracles.rate_distortion import literal_curve
from tools.benchmarks.harness import Case, run


def network() -> nn.Module:
    """The same in every process."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    return MODELS.build(Config.fromfile('configs/_base_/models/resnet32_rd_cifar.py').model).eval()


def case(name: str, args: object) -> Case:
    """One layer's curve."""
    images = torch.randn(args.images, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    measurer = CurveMeasurer(num_images=args.images, points=args.points, batch_size=args.batch, cache=False)

    def cut(model: nn.Module) -> object:
        return weight_cut(name, model.get_submodule(name))

    def ours() -> object:
        model = network()
        scope = Scope.of(model, torch.zeros(1, 3, 32, 32))
        return lambda: measurer.measure([cut(model)], scope, as_source([images]))[name][1]

    def literal() -> object:
        model = network()
        kept = measurer.kept_counts(cut(model))
        return lambda: literal_curve(model, lambda net, batch: net(batch, mode='tensor'), name, kept, [images])

    def difference(curves: dict[str, Tensor]) -> float:
        return float((curves['ours'] - curves['literal']).abs().max() / curves['literal'].max().clamp_min(1e-30))

    return Case({'literal': literal, 'ours': ours}, difference)


def layers(every: int = 4) -> list[str]:
    """The layers that are measured."""
    names = [name for name, m in network().named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return names[every // 2 :: every][::-1]


if __name__ == '__main__':
    options = {'images': (256, 8), 'points': (100, 4), 'batch': (64, 8)}
    run(__doc__, {name: partial(case, name) for name in layers()}, options, rounds=1, warmup=0, fresh=True)
