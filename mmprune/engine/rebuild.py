"""Rebuilding of what a runner made for the old widths: DDP, moving averages, the optimiser's memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmprune.distillation.wrapper import DistillationWrapper
from mmprune.engine.runner import hooks_paused
from mmprune.errors import ConfigError
from mmprune.graph.program import unwrap
from mmprune.surgery.masking import apply_mask, masks


def take_off_wrapper(runner: Runner) -> nn.Module:
    """Leave the host alone in the runner, without DDP or distillation around it.

    The wrapper is gone afterwards: DDP holds on to autograd's accumulators, which remember the old shapes.

    Raises:
        ConfigError: The wrapper is of a kind that cannot be made again.
    """
    if is_model_wrapper(runner.model) and not isinstance(runner.model, (DistributedDataParallel, DistillationWrapper)):
        raise ConfigError(
            f'model_wrapper_cfg: {type(runner.model).__name__} cannot be pruned; use MMDistributedDataParallel'
        )
    runner.model = unwrap(runner.model)
    gc.collect()
    return runner.model


def rewrap(runner: Runner) -> None:
    """Wrap the model again: DDP has sorted gradients of the old shapes into buckets."""
    model = take_off_wrapper(runner)
    if runner.distributed:
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), model)


def average_hooks(runner: Runner) -> list[EMAHook]:
    """Hooks that keep a moving average of the weights, once they have made their copy."""
    return [hook for hook in runner.hooks if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model')]


@contextmanager
def averages_paused(runner: Runner) -> Iterator[None]:
    """Evaluation without EMA hooks, while their copies have other widths than the model."""
    with hooks_paused(runner, average_hooks(runner)):
        yield


def restart_averages(runner: Runner) -> None:
    """Give EMA hooks new copies of the model as it is now; their average starts anew."""
    for hook in average_hooks(runner):
        hook.before_run(runner)


def reconnect_averages(runner: Runner) -> None:
    """After a load that cut the copies, let them average their new tensors and not those of the old widths."""
    for hook in average_hooks(runner):
        copy = hook.ema_model
        copy.avg_parameters = copy.module.state_dict() if copy.update_buffers else dict(copy.module.named_parameters())


@contextmanager
def averaged(runner: Runner) -> Iterator[None]:
    """The model with its averaged weights, as EMA hooks evaluate it and put it into checkpoints."""
    with ExitStack() as stack:
        for hook in average_hooks(runner):
            hook._swap_ema_parameters()
            stack.callback(hook._swap_ema_parameters)
        yield


def forget_stale_state(runner: Runner) -> None:
    """Drop optimiser state (momentum) of parameters that changed their shape, and zero it where weights are masked."""
    state = getattr(getattr(runner.optim_wrapper, 'optimizer', None), 'state', {})
    for parameter, entries in state.items():
        if any(isinstance(v, Tensor) and v.dim() and v.shape != parameter.shape for v in entries.values()):
            entries.clear()
    model = unwrap(runner.model)
    for name, mask in masks(model).items():
        module = model.get_submodule(name)
        apply_mask(module)
        for value in state.get(module.weight, {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                value.mul_(mask)


def fresh_optimizer(runner: Runner) -> None:
    """Optimiser without memory and learning-rate schedules from their start, as at the beginning of the run."""
    optimizer = runner.optim_wrapper.optimizer
    optimizer.state.clear()
    for group in optimizer.param_groups:
        for key in [key for key in group if key.startswith('initial_')]:
            group[key.removeprefix('initial_')] = group[key]
    if runner.param_schedulers:
        runner.param_schedulers = runner.build_param_scheduler(runner.cfg.param_scheduler)
