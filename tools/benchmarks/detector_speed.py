"""Wall-clock time of a cut: Faster R-CNN R50, dense and pruned in turn.

    python -m tools.benchmarks.detector_speed --threads 2 --append     # into docs/detector_speed.json
    python tools/results/make_readme.py

Every candidate is the dense network with half of the FLOPs of its target gone, in widths that are multiples of a fast
number. Weights are random, on which kernels do not depend; predictions are damped, so that every network hands on
1,000 proposals and finds no object.
"""

import copy
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmprune
from mmprune.deployment import export
from mmprune.registry import MODELS
from tests.networks import randomise
from tools.benchmarks.harness import ROOT, Case, run

CUTS = {
    'backbone': ('backbone', dict(prune_interface=True)),
    'backbone, inner channels': ('backbone', dict(keep=['conv1', '*.conv3', '*.downsample*'])),
    'backbone, FPN and heads': (['backbone', 'neck', 'rpn_head', 'roi_head'], dict(prune_interface=True)),
    'whole network': ('', {}),
}


@cache
def detector() -> nn.Module:
    """Faster R-CNN as mmdet's config builds it."""
    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    cfg = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    randomise(model)
    box_head = model.roi_head.bbox_head
    with torch.no_grad():
        for layer in (model.rpn_head.rpn_cls, model.rpn_head.rpn_reg, box_head.fc_cls, box_head.fc_reg):
            layer.weight.mul_(1e-4)
            layer.bias.zero_()
        box_head.fc_cls.bias[-1] = 10  # the background
    return model.eval()


@cache
def classifier() -> nn.Module:
    """ResNet-50."""
    import torchvision

    return randomise(torchvision.models.resnet50()).eval()


@cache
def cut(build: Callable[[], nn.Module], name: str, shape: tuple[int, ...], round_to: int) -> tuple[nn.Module, float]:
    """A pruned copy, and the share of its targets' FLOPs that is left."""
    model, (target, options) = copy.deepcopy(build()), CUTS[name]
    pruner = dict(type='ChannelPruner', allocator=dict(type='Uniform', target=dict(flops=0.5)), **options)
    pruner |= dict(round_to=round_to)
    first, *_, last = mmprune.prune(model, torch.randn(shape), target, pruner, restorer=None, clock_s=0).stages
    return model.eval(), round(last.target_flops / first.target_flops, 4)


def forward(net: nn.Module, example: Tensor, _: object) -> Callable[[], object]:
    """The backbone in torch."""
    return lambda: net.backbone(example)


def predict(net: nn.Module, example: Tensor, _: object) -> Callable[[], object]:
    """The whole detector, from images in pixels to boxes."""
    shape = tuple(example.shape[2:])
    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    image = torch.randint(0, 255, example.shape[1:], dtype=torch.uint8)
    return lambda: net.test_step({'inputs': [image], 'data_samples': [DetDataSample(metainfo=dict(meta))]})


def exported(net: nn.Module, example: Tensor, args: object) -> Callable[[], object]:
    """The backbone (a classifier: all of it) in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'net.onnx'
        export(getattr(net, 'backbone', net), example, path, 'onnx')
        session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return lambda: session.run(None, {session.get_inputs()[0].name: example.numpy()})


def case(call: Callable, names: tuple[str, ...], round_to: int, args: object, images: bool = False) -> Case:
    """The dense network and some cuts of it."""
    build = classifier if images else detector
    example = torch.randn((8, 3, 224, 224) if images else (1, 3, args.height, args.width))
    small = (1, 3, 64, 64) if images else (1, 3, 192, 320)  # what is cut does not depend on the size
    left: dict[str, float] = {}

    def pruned(name: str) -> Callable[[], object]:
        net, left[name] = cut(build, name, small, round_to)
        return call(net, example, args)

    sides = {'dense': lambda: call(build(), example, args)} | {name: partial(pruned, name) for name in names}
    return Case(sides, facts={'flops_left': left})


BACKBONE, INNER, HEADS, WHOLE = CUTS
CASES = {
    'backbone alone, torch': partial(case, forward, (BACKBONE, INNER), 32),
    'predict, torch': partial(case, predict, (BACKBONE, HEADS), 32),
    'backbone alone, onnxruntime': partial(case, exported, (BACKBONE,), 16),
    'ResNet-50, 8 × 3 × 224 × 224, onnxruntime': partial(case, exported, (WHOLE,), 8, images=True),
}

if __name__ == '__main__':
    options = {'height': (480, 96), 'width': (800, 160)}
    run(__doc__, CASES, options, rounds=15, warmup=3, out=ROOT / 'docs/detector_speed.json')
