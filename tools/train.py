"""Do the whole job of a config: load, prune, restore, fine-tune if it says so, evaluate each stage, save."""

import argparse

import torch
from mmengine.config import Config

from mmprune.engine import Settings, prepare_config, prepare_training_config, read_settings, run
from mmprune.engine.cli import (
    add_common_arguments,
    apply_common_arguments,
    check_checkpoint,
    clear_errors,
    explained,
    read_config,
)
from mmprune.engine.resume import latest_checkpoint
from mmprune.errors import ConfigError


def parse_args() -> argparse.Namespace:
    """Arguments in the mm manner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from a checkpoint, or from the latest one in the work dir if none is named '
        '(if there is none, start from the beginning)',
    )
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (needs a GPU)')
    return parser.parse_args()


def apply_training_arguments(cfg: Config, args: argparse.Namespace) -> Settings | None:
    """Prepare the config for the run that it asks for; the settings of its ``pruning``, if it has one."""
    settings = None
    if cfg.get('pruning') is not None:
        settings = read_settings(cfg)
        prepare_config(cfg, settings)
    else:  # an ordinary training run, e.g. of the dense network
        prepare_training_config(cfg)
    if args.amp and trains(cfg):
        if not torch.cuda.is_available():
            raise ConfigError('--amp: needs a GPU')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    return settings


def trains(cfg: Config) -> bool:
    """True if the config's own training is part of the job."""
    return cfg.get('pruning') is None or cfg.pruning.get('finetune', False)


def checkpoint_to_resume(cfg: Config, args: argparse.Namespace) -> str | None:
    """The checkpoint that --resume (or the config's own `resume`) means, if any."""
    wanted = args.resume or (cfg.get('load_from') or 'auto' if cfg.get('resume') else None)
    cfg.resume = False  # the config that goes into the work dir tells how to run it anew
    if wanted is not None and not trains(cfg):
        raise ConfigError('--resume: nothing to resume, this config does not train (pruning.finetune=False)')
    if wanted != 'auto':
        return wanted
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    latest = latest_checkpoint(cfg.work_dir, hook.get('out_dir'))
    return None if latest is None else str(latest)


@clear_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    cfg = read_config(args.config)
    apply_common_arguments(cfg, args)
    settings = apply_training_arguments(cfg, args)
    resume = checkpoint_to_resume(cfg, args)
    key, path = ('--resume', resume) if resume else ('load_from', cfg.get('load_from'))
    if path:
        check_checkpoint(path, key, has_run=bool(resume))
    with explained(cfg, f'{key}: {path}'):
        run(cfg, resume, settings)


if __name__ == '__main__':
    main()
