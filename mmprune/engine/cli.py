"""Arguments in the mm manner and errors that say what to do, for all command-line tools."""

from __future__ import annotations

import argparse
import functools
import os
import os.path as osp
import re
import sys
from collections.abc import Callable, Sequence

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from mmprune.checkpoint.reading import is_address, read_checkpoint
from mmprune.deployment import ExportError
from mmprune.engine.config import make_loadable_config
from mmprune.engine.explanations import explained
from mmprune.engine.input_shape import input_shape_of
from mmprune.engine.resume import run_problem
from mmprune.errors import CheckpointError, ConfigError, GraphError, StructureError
from mmprune.registry import MODELS

#: Mistakes of the user's input: shown as one line, not as a traceback.
USER_ERRORS = (ConfigError, CheckpointError, StructureError, GraphError, ExportError, OSError)
DEBUG = 'MMPRUNE_DEBUG'


def add_common_arguments(parser: argparse.ArgumentParser, dict_action: type[argparse.Action] = DictAction) -> None:
    """Arguments that every tool with a config has."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and reports go')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=dict_action,
        type=_key_value,
        metavar='KEY=VALUE',
        help='override keys of the config, e.g. pruning.pruner.allocator.ratio=0.5',
    )
    parser.add_argument('--seed', type=int, help='random seed')
    parser.add_argument('--deterministic', action='store_true', help='let torch use deterministic algorithms only')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def _key_value(text: str) -> str:
    if '=' not in text.strip('='):
        raise argparse.ArgumentTypeError(f'expected KEY=VALUE, got {text!r}')
    return text


def read_config(path: str) -> Config:
    """A config from its file.

    Raises:
        ConfigError: It does not exist or cannot be executed; the message says why.
    """
    if not osp.isfile(path):
        raise ConfigError(f'{path}: no such config')
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is a program of the user's
        raise ConfigError(f'{path}: cannot be read as a config ({type(error).__name__}: {error})') from error


def apply_common_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Write the common arguments into the config."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    if args.cfg_options:
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (TypeError, KeyError, IndexError) as error:
            raise ConfigError(f'--cfg-options: {error}') from error
    if args.seed is not None or args.deterministic:
        cfg.randomness = dict(cfg.get('randomness') or {})
        cfg.randomness.update({} if args.seed is None else {'seed': args.seed})
        cfg.randomness.update({'deterministic': True} if args.deterministic else {})
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if args.launcher != 'none':
        _prepare_launcher(cfg, args.launcher)


def _prepare_launcher(cfg: Config, launcher: str) -> None:
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ConfigError('--launcher pytorch: needs torchrun around it, as in tools/dist_train.sh and dist_test.sh')
    if torch.cuda.is_available():
        return
    if launcher == 'pytorch' and not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')  # mmengine itself would ask for a GPU per process here
    cfg.model_wrapper_cfg = dict(
        dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        ),
        **cfg.get('model_wrapper_cfg') or {},
    )
    cfg.model_wrapper_cfg.device_ids = None


def check_checkpoint(path: str, key: str, has_run: bool = False) -> None:
    """Look at a checkpoint before anything is built or written.

    Args:
        path: Local file; addresses such as ``https://…`` are read when the run loads them, by one process first.
        key: Which key or argument named it, for messages.
        has_run: Whether it must hold a run and not only weights.

    Raises:
        CheckpointError: Missing, damaged, or weights only where a run is asked for.
    """
    if is_address(path):
        return
    try:
        checkpoint = read_checkpoint(path)
    except (FileNotFoundError, CheckpointError) as error:
        raise CheckpointError(f'{key}: {error}') from error
    if has_run and (problem := run_problem(checkpoint)):
        raise CheckpointError(f'{key}: {path} {problem}')


def model_config(args: argparse.Namespace) -> Config:
    """The config of a tool that looks at one network: read, overridden, and able to take pruned weights."""
    cfg = read_config(args.config)
    apply_common_arguments(cfg, args)
    return make_loadable_config(cfg)


def load_model(
    cfg: Config,
    checkpoint: str | None,
    shape: Sequence[int] | None = None,
    device: str = 'cpu',
    key: str = 'checkpoint',
) -> tuple[nn.Module, torch.Tensor]:
    """The network of a config, with the weights and widths of a checkpoint, and an example input of zeros.

    Args:
        cfg: From :func:`model_config`.
        checkpoint: Dense or pruned, a file or an address; None leaves the initial weights, which may be those of an
            ``init_cfg``.
        shape: Input as H W, C H W or N C H W; default: the config's ``pruning.input_shape``, else that
            of its test pipeline.
        device: Where the network goes.
        key: Which key or argument named the checkpoint, for messages.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    with explained(cfg, f'{key}: {checkpoint}'):
        model = MODELS.build(cfg.model).to(device)
        if checkpoint is None:
            model.init_weights()
        else:
            _load(model, checkpoint)
    default, _ = input_shape_of(cfg)
    shape = tuple(shape or default)
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ConfigError(f'--shape: H W, C H W or N C H W, got {" ".join(map(str, shape))}')
    shape = (1, *default[:1], *shape) if len(shape) == 2 else (1, *shape) if len(shape) == 3 else shape
    return model.eval(), torch.zeros(shape, device=device)


def _load(model: nn.Module, checkpoint: str) -> None:
    """Load weights and widths as the Runner does, which takes no part in what only looks at a network."""
    content = read_checkpoint(checkpoint)
    given = content.get('state_dict', content)
    state = type(given)((name.removeprefix('module.'), value) for name, value in given.items())
    state._metadata = getattr(given, '_metadata', {})
    load_state_dict(model, state)


def out_of_memory(error: BaseException) -> str:
    """A remedy, if the error is that memory ran out; else an empty text."""
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "can't allocate memory" not in str(error):
        return ''
    asked = re.search(r'[Tt]ried to allocate ([\d.]+ ?\w+)', str(error))
    return (
        f'out of memory{f" (asked for {asked[1]})" if asked else ""}: lower the batch_size of the data loaders or '
        'of pruning.images, or pruning.num_images; what was finished is in the work dir'
    )


def clear_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Turn mistakes in the input into one line on stderr and exit code 2 (with ``MMPRUNE_DEBUG=1``: a traceback)."""

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except (*USER_ERRORS, MemoryError, RuntimeError) as error:
            if os.environ.get(DEBUG) == '1':
                raise
            text = out_of_memory(error) or str(error)
            if not text or not (isinstance(error, USER_ERRORS) or out_of_memory(error)):
                raise
            rank = os.environ.get('RANK', '0')
            who = 'error' if rank == '0' else f'error (process {rank})'
            print(f'{who}: {" ".join(text.split())}', file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print('interrupted; what was finished is in the work dir', file=sys.stderr)
            sys.exit(130)

    return wrapped
