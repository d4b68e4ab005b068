"""Write a network, dense or pruned, for runtimes that know neither mmprune nor its config, and check what was written.

    python tools/export.py CONFIG CHECKPOINT --format onnx --out network.onnx --shape 480 800 --dynamic-batch

Classifiers go whole, detectors with backbone and neck; `--part whole` adds a detector's dense head (its raw maps, as
the host's `mode='tensor'` gives them, no boxes). The file gets its name only if it computes what PyTorch computes.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mmprune.deployment import FORMATS, export
from mmprune.engine.cli import add_common_arguments, clear_errors, load_model, model_config
from mmprune.images.loader import LOADERS, LoaderImages
from mmprune.report.tables import human


def parse_args() -> argparse.Namespace:
    """Arguments in the mm manner."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint, e.g. of the pruned network; none: initial weights')
    parser.add_argument(
        '--format',
        choices=list(FORMATS),
        default='onnx',
        help="'pytorch' is a folder with a network.py and weights.pth that need nothing but torch",
    )
    parser.add_argument('--out', help='file (or folder) to write; default: in the work dir')
    parser.add_argument('--shape', nargs='+', type=int, help='input: H W, C H W or N C H W')
    parser.add_argument('--opset', type=int, default=17, help='ONNX operator set')
    parser.add_argument('--dynamic-batch', action='store_true', help='let the file take any batch size')
    parser.add_argument(
        '--part',
        choices=['features', 'whole'],
        default='features',
        help="detectors: 'features' is backbone and neck, 'whole' has the head's raw maps, too",
    )
    parser.add_argument('--images', choices=LOADERS, help='also compare on images of this loader of the config')
    add_common_arguments(parser)
    return parser.parse_args()


def whole(model: nn.Module) -> Callable[[Tensor], object]:
    """The forward pass up to the head's raw outputs."""
    return lambda images: model(images, mode='tensor')


@clear_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    cfg = model_config(args)
    model, example = load_model(cfg, args.checkpoint, args.shape)
    others = []
    if args.images:
        images = LoaderImages(cfg, model, args.images, len(example))
        others = [torch.nn.functional.interpolate(next(iter(images)), example.shape[-2:])]
    out = args.out or str(Path(cfg.work_dir) / f'network{FORMATS[args.format].suffix}')
    done = export(
        model,
        example,
        out,
        args.format,
        args.opset,
        args.dynamic_batch,
        whole if args.part == 'whole' else None,
        others,
    )
    shapes = ', '.join('×'.join(map(str, shape)) for shape in done.outputs)
    print(
        f'written: {done.path} ({human(done.size)}B)\ninput {"×".join(map(str, done.inputs))}, outputs {shapes}\n'
        f'largest relative difference to PyTorch: {done.error:.1e}'
    )


if __name__ == '__main__':
    main()
