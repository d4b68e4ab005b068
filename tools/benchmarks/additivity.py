"""Do the distortions of single layers add up? Random allocations of a config's network: JSON and a scatter plot.

For example::

    python tools/benchmarks/additivity.py configs/rd_prune/resnet20_rd-zero-data-s60_cifar10.py --out OUT
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

from mmprune.distortion import CurveMeasurer, check_additivity
from mmprune.engine.config import make_loadable_config
from mmprune.graph.scope import Scope
from mmprune.images.loader import LoaderImages
from mmprune.registry import MODELS, PRUNERS, build_part
from mmprune.report.plots import plot_additivity
from mmprune.storage.files import write_atomically


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config with a WeightPruner')
    parser.add_argument('--samples', type=int, default=40, help='random allocations')
    parser.add_argument('--images', type=int, default=64)
    parser.add_argument('--points', type=int, default=20)
    parser.add_argument('--max-ratio', type=float, default=0.9)
    parser.add_argument('--out', default='work_dirs/additivity', help='writes OUT.json and OUT.png')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model = MODELS.build(make_loadable_config(cfg).model).eval()
    load_checkpoint(model, cfg.load_from, map_location='cpu')
    settings = cfg.pruning
    scope = Scope.of(model, torch.zeros(1, *settings.input_shape), settings.get('target', 'backbone'))
    pruner = build_part(PRUNERS, settings.pruner, 'pruning.pruner')
    images = settings.get('images') and LoaderImages(cfg, model, settings.images, args.images, 0)
    measurer = CurveMeasurer(num_images=args.images, points=args.points, worst_case=False)
    result = check_additivity(pruner.cuts(scope), scope, measurer, images or None, args.samples, args.max_ratio)
    write_atomically(Path(f'{args.out}.json'), json.dumps(result.to_dict(), indent=1) + '\n')
    plot_additivity(result, f'{args.out}.png')
    print(json.dumps(result.summary(), indent=1), f'\nwritten: {args.out}.json, {args.out}.png')


if __name__ == '__main__':
    main()
