"""Prune the network of a config without a training run; with --dry-run, only show what would happen."""

import argparse
import os.path as osp
import sys

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint

import mmprune
from mmprune.engine import prepare_config
from mmprune.engine.cli import add_common_arguments, apply_common_arguments, clear_errors
from mmprune.engine.images import LoaderImages
from mmprune.registry import MODELS
from mmprune.visualization import plot_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--dry-run', action='store_true', help='print each group and the resulting size; write nothing')
    add_common_arguments(parser, DictAction)
    return parser.parse_args()


@clear_errors
def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    apply_common_arguments(cfg, args)
    prepare_config(cfg)
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model = MODELS.build(cfg.model)
    warning = ''
    if cfg.get('load_from'):
        load_checkpoint(model, cfg.load_from, map_location='cpu', strict=False)
    else:
        model.init_weights()
        warning = 'load_from is not set: the network being pruned has its INITIAL, untrained weights'
        print(f'! {warning}', file=sys.stderr)
    settings = cfg.pruning
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    images = None
    if settings.get('images'):
        images = LoaderImages(cfg, model, settings.images, settings.get('num_images', 1000), seed)
    example = torch.zeros(1, *settings.get('input_shape', (3, 224, 224)))
    report = mmprune.prune(model, example, settings.get('target', 'backbone'), settings.pruner,
                           settings.get('restorer'), images, seed=seed, dry_run=args.dry_run)
    report.config = cfg.pretty_text
    if warning:
        report.warnings.insert(0, warning)
    print(report)
    if args.dry_run:
        return
    mmprune.save(model, osp.join(cfg.work_dir, 'pruned.pth'), meta={'cfg': cfg.pretty_text})
    report.save(osp.join(cfg.work_dir, 'report.json'))
    plot_report(report, osp.join(cfg.work_dir, 'report.png'))
    print(f'written: {osp.join(cfg.work_dir, "pruned.pth")}, report.json, report.png')


if __name__ == '__main__':
    main()
