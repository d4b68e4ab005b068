"""Evaluate a checkpoint, dense or pruned, on the test set of a config."""

import argparse

from mmengine.config import Config

from mmprune.checkpoint import structure_of
from mmprune.engine import PruningRunner, make_loadable_config
from mmprune.engine.cli import (
    add_common_arguments,
    apply_common_arguments,
    check_checkpoint,
    clear_errors,
    explained,
    read_config,
)
from mmprune.errors import ConfigError
from mmprune.graph.program import unwrap
from mmprune.surgery.masking import masks, trained_masks

#: What is said of a checkpoint that the config has not pruned.
DENSE = (
    'the config prunes, but this checkpoint is not pruned: these are the figures of the dense network; to test what '
    'pruning leaves, give the pruned.pth or finetuned.pth that tools/train.py writes'
)


def parse_args() -> argparse.Namespace:
    """Arguments in the mm manner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_common_arguments(parser)
    parser.add_argument('--out', help='also dump the raw predictions to this .pkl file')
    return parser.parse_args()


def prepare_test_config(cfg: Config, checkpoint: str) -> None:
    """Leave in the config what testing needs."""
    make_loadable_config(cfg)
    for key in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        if cfg.get(key) is None:
            raise ConfigError(f'{key}: this config has none, there is nothing to test on')
    cfg.load_from, cfg.resume, cfg.pruning = checkpoint, False, None
    # hooks beside the pruning ones stay: a host's own may matter to its testing
    hooks = cfg.get('custom_hooks') or []
    cfg.custom_hooks = [hook for hook in hooks if not str(hook.get('type')).startswith('mmprune.')]
    for key in (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'val_dataloader',
        'val_cfg',
        'val_evaluator',
    ):
        cfg[key] = None


@clear_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    cfg = read_config(args.config)
    apply_common_arguments(cfg, args)
    prunes = cfg.get('pruning') is not None
    prepare_test_config(cfg, args.checkpoint)
    check_checkpoint(args.checkpoint, 'checkpoint')
    with explained(cfg, f'checkpoint: {args.checkpoint}'):
        runner = PruningRunner.from_cfg(cfg)
        if args.out:
            from mmengine.evaluator import DumpResults

            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        runner.test()
    model = unwrap(runner.model)
    if prunes and not (structure_of(model) or masks(model) or trained_masks(model)):
        runner.logger.warning(f'{args.checkpoint}: {DENSE}')


if __name__ == '__main__':
    main()
