"""What a stopwatch sees of a cut: Faster R-CNN R50 at 480 × 800, dense and pruned in turn, on two threads.

    python tools/benchmarks/detector_speed.py --out docs/detector_speed.json   # appends a run
    python tools/results/make_readme.py

Every candidate is the dense network with half of the FLOPs of its target gone, in widths that are multiples of a fast
number. Within a round each candidate runs once, in turn, so that a machine whose speed drifts treats all alike; a
run's ratio is that of the medians, and the quartiles are those of the rounds' own ratios. Weights are random, on which
kernels do not depend; predictions are damped, so that every network hands on 1,000 proposals and finds no object.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT)]

import mmprune  # noqa: E402
import mmprune.pipeline  # noqa: E402
from mmprune.deployment import export  # noqa: E402
from mmprune.registry import MODELS  # noqa: E402
from mmprune.report.report import versions  # noqa: E402
from mmprune.storage.files import write_atomically  # noqa: E402
from tests.networks import randomise  # noqa: E402

SHAPE = (1, 3, 480, 800)
INNER = ['conv1', '*.conv3', '*.downsample*']
#: Candidates: targets, and what of :class:`ChannelPruner` differs.
CUTS = {
    'backbone': ('backbone', dict(prune_interface=True)),
    'backbone, inner channels': ('backbone', dict(keep=INNER)),
    'backbone, FPN and heads': (['backbone', 'neck', 'rpn_head', 'roi_head'], dict(prune_interface=True)),
}


def detector() -> nn.Module:
    """Faster R-CNN as mmdet's config builds it, without trained weights."""
    from mmdet.utils import register_all_modules
    from mmengine.hub import get_config
    from mmengine.registry import init_default_scope

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


def cut(model: nn.Module, example: Tensor, target: str | list[str], flops: float, **options: object) -> tuple:
    """A pruned copy, and the share of its targets' FLOPs that is left."""
    model = copy.deepcopy(model)
    pruner = dict(
        type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', target=dict(flops=flops)), **options
    )
    report = mmprune.prune(model, example, target, pruner, restorer=None, clock_s=0)  # the clock is here
    first, last = report.stages[0], report.stages[-1]
    return model.eval(), round(last.target_flops / first.target_flops, 4)


def race(calls: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3) -> dict[str, dict]:
    """Time calls in turn; the first is what the others are compared with.

    Returns:
        By name: the median and quartiles in ms; from the second on the ratio of medians, and quartiles of the ratios.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for turn in range(warmup + rounds):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if turn >= warmup:
                    times[name].append(1e3 * (time.perf_counter() - start))
    dense = np.array(next(iter(times.values())))
    found = {}
    for name, values in times.items():
        quarter, median, three = np.percentile(values, (25, 50, 75))
        found[name] = {'ms': round(median, 2), 'quartiles_ms': [round(quarter, 2), round(three, 2)]}
        if values is not times[next(iter(times))]:
            ratios = np.percentile(dense / np.array(values), (25, 75))
            found[name] |= {
                'times_faster': round(float(np.median(dense) / median), 3),
                'quartiles': [round(float(q), 3) for q in ratios],
            }
    return found


def session(
    model: nn.Module, example: Tensor, path: Path, threads: int, forward: Callable | None = None
) -> Callable[[], object]:
    """A call of the exported network in onnxruntime."""
    import onnxruntime

    export(model, example, path, 'onnx', forward=forward)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    run = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    feed = {run.get_inputs()[0].name: torch.randn(example.shape).numpy()}
    return lambda: run.run(None, feed)


def predict(model: nn.Module) -> Callable[[Tensor], object]:
    """The whole detector, from images in pixels to boxes."""
    from mmdet.structures import DetDataSample

    height, width = SHAPE[2:]
    meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
    image = torch.randint(0, 255, SHAPE[1:], dtype=torch.uint8)
    return lambda: model.test_step({'inputs': [image], 'data_samples': [DetDataSample(metainfo=dict(meta))]})


def main() -> None:
    """Run all races, append them to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/detector_speed.json')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--flops', type=float, default=0.5, help='share of the FLOPs that stays')
    parser.add_argument(
        '--round-to',
        type=int,
        default=32,
        help='multiples that the widths are in torch; 16 in onnxruntime, 8 for the classifier',
    )
    parser.add_argument('--note', default='', help='what is to be said about the machine')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    run = {
        'date': datetime.datetime.now().isoformat(timespec='minutes'),
        'load_average': os.getloadavg(),
        'threads': args.threads,
        'rounds': args.rounds,
        'round_to': args.round_to,
        'shape': SHAPE,
        'versions': dict(versions()),
        'note': args.note,
        'races': {},
    }
    dense, example = detector(), torch.randn(SHAPE)
    small = torch.randn(1, 3, 192, 320)  # what is cut does not depend on the size
    nets, left = {'dense': dense}, {}
    for name, (target, options) in CUTS.items():
        nets[name], left[name] = cut(dense, small, target, args.flops, round_to=args.round_to, **options)
    print('cut', left, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bodies = {name: net for name, net in nets.items() if name != 'backbone, FPN and heads'}
        finish(
            run,
            'backbone alone, torch',
            race({name: lambda net=net: net.backbone(example) for name, net in bodies.items()}, args.rounds),
            left,
        )
        del bodies['backbone, inner channels'], nets['backbone, inner channels']
        finish(run, 'predict, torch', race({name: predict(net) for name, net in nets.items()}, args.rounds), left)
        bodies['backbone'], left['backbone'] = cut(
            dense, small, *CUTS['backbone'][:1], args.flops, round_to=16, **CUTS['backbone'][1]
        )
        finish(
            run,
            'backbone alone, onnxruntime',
            race(
                {
                    name: session(net.backbone, example, Path(folder) / f'{i}.onnx', args.threads)
                    for i, (name, net) in enumerate(bodies.items())
                },
                args.rounds,
            ),
            left,
        )
        finish(run, 'ResNet-50, 8 × 3 × 224 × 224, onnxruntime', *classifier(args, Path(folder)))
    runs = json.loads(args.out.read_text())['runs'] if args.out.exists() else []
    write_atomically(args.out, json.dumps({'schema_version': 1, 'runs': [*runs, run]}, indent=1) + '\n')


def classifier(args: argparse.Namespace, folder: Path) -> tuple[dict, dict]:
    """ResNet-50 with batches of eight, widths in multiples of eight."""
    import torchvision

    model, example = randomise(torchvision.models.resnet50()).eval(), torch.randn(8, 3, 224, 224)
    small, left = cut(model, example, '', args.flops, round_to=8)
    calls = {
        name: session(net, example, folder / f'{name}.onnx', args.threads)
        for name, net in (('dense', model), ('whole network', small))
    }
    return race(calls, args.rounds), {'whole network': left}


def finish(run: dict, title: str, found: dict, left: Mapping[str, float]) -> None:
    """Note a race and print it."""
    for name, entry in found.items():
        if name in left:
            entry['flops_left'] = left[name]
    run['races'][title] = found
    print(title, *(f'  {name}: {json.dumps(entry)}' for name, entry in found.items()), sep='\n', flush=True)


if __name__ == '__main__':
    main()
