"""Pruning Faster R-CNN R50-FPN's backbone, beside Torch-Pruning's own pruner on the same one.

    python -m tools.benchmarks.pruning --threads 2 --out FILE

Timed is all that ``mmprune.prune`` does apart from counting and timing for the report: trace, verify, score, slice,
verify again. Torch-Pruning sees only what is not frozen, and cuts the interface too. ``prepared_mib`` is the memory
with the detector in it.
"""

from collections.abc import Callable

import torch
import torch_pruning
from mmdet.utils import register_all_modules
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from torch import nn

from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.registry import MODELS
from tools.benchmarks.harness import Case, run

RATIO = 0.3


def detector() -> nn.Module:
    """As mmdet's config describes it, without weights."""
    register_all_modules(init_default_scope=False)
    config = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config.model)


def case(args: object) -> Case:
    """Both pruners."""
    example = torch.randn(1, 3, args.side, args.side)

    def theirs() -> Callable[[], object]:
        model, importance = detector(), torch_pruning.importance.MagnitudeImportance(p=2)
        make = torch_pruning.pruner.MagnitudePruner
        return lambda: make(model.backbone, example, importance, pruning_ratio=RATIO).step()

    def ours() -> Callable[[], object]:
        model, pruner = detector(), ChannelPruner('L2Norm', dict(type='Uniform', ratio=RATIO))
        return lambda: pruner.plan(Scope.of(model, example, 'backbone')).apply()

    return Case({'Torch-Pruning': theirs, 'mmprune': ours})


if __name__ == '__main__':
    run(__doc__, {'Faster R-CNN': case}, {'side': (224, 64)}, rounds=3, warmup=0, fresh=True)
