"""Prune and repair the network of a config, without evaluation or training; --dry-run only shows what would happen."""

import argparse

from mmengine.config import Config

import mmprune
from mmprune.engine import UNTRAINED, Settings, has_weights, prepare_config, read_settings, run
from mmprune.engine.cli import (
    add_common_arguments,
    apply_common_arguments,
    check_checkpoint,
    clear_errors,
    explained,
    load_model,
    read_config,
)
from mmprune.engine.input_shape import input_shape_of
from mmprune.images.loader import LoaderImages
from mmprune.report.report import Report


def parse_args() -> argparse.Namespace:
    """Arguments in the mm manner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--dry-run', action='store_true', help='print each group and the resulting size; write nothing'
    )
    add_common_arguments(parser)
    return parser.parse_args()


def preview(cfg: Config, settings: Settings) -> Report:
    """The result of pruning a copy of the network; nothing is repaired, for that changes no width."""
    model, example = load_model(cfg, cfg.get('load_from'), key='load_from')
    images = None
    if settings.loader is not None:
        images = LoaderImages(cfg, model, settings.loader, settings.num_images)
    seed = (cfg.get('randomness') or {}).get('seed') or 0
    report = mmprune.prune(model, example, settings.target, settings.pruner, None, images, seed=seed, dry_run=True)
    if settings.input_shape is None:
        report.extra['input_shape_from'] = input_shape_of(cfg)[1]
    if not has_weights(cfg) and settings.pruner.default_restorer is not None:
        report.warnings.insert(0, UNTRAINED)
    return report


@clear_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    cfg = read_config(args.config)
    apply_common_arguments(cfg, args)
    if isinstance(cfg.get('pruning'), dict):  # of the whole job only the cut and its repair
        cfg.pruning.update(evaluate=False, finetune=False, schedule=None, distillation=None)
    settings = read_settings(cfg)
    prepare_config(cfg, settings)
    if args.dry_run:
        print(preview(cfg, settings))
        return
    if cfg.get('load_from'):
        check_checkpoint(cfg.load_from, 'load_from')
    with explained(cfg, f'load_from: {cfg.get("load_from")}'):
        run(cfg, settings=settings)


if __name__ == '__main__':
    main()
