"""Rebuilding of what a runner made for the old widths: DDP and moving averages."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mmengine.dist import broadcast
from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmprune.checkpoint.mending import mend, reconnect
from mmprune.checkpoint.record import structure_of
from mmprune.distillation.wrapper import DistillationWrapper
from mmprune.engine.runner import hooks_paused
from mmprune.errors import ConfigError
from mmprune.graph.program import unwrap


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
    """After a load that cut the network, let EMA hooks average its new tensors and not those of the old widths."""
    model = unwrap(runner.model)
    for hook in average_hooks(runner):
        if structure_of(model) is not None and structure_of(hook.ema_model.module) is None:
            mend(model, averages=hook.ema_model)
        reconnect(hook.ema_model)


@contextmanager
def averaged(runner: Runner) -> Iterator[None]:
    """The model with its averaged weights, as EMA hooks evaluate it and put it into checkpoints."""
    with ExitStack() as stack:
        for hook in average_hooks(runner):
            hook._swap_ema_parameters()
            stack.callback(hook._swap_ema_parameters)
        yield


def share_statistics(runner: Runner) -> None:
    """Give every process the buffers of the main one, whose network is saved, for them to evaluate the same network.

    Each process's batch norms have seen the images of that process only.
    """
    for network in (unwrap(runner.model), *(hook.ema_model for hook in average_hooks(runner))):
        for buffer in network.buffers():
            if buffer.is_floating_point():
                broadcast(buffer)


def fresh_optimizer(runner: Runner) -> None:
    """Optimiser without memory and learning-rate schedules from their start, as at the beginning of the run."""
    optimizer = runner.optim_wrapper.optimizer
    optimizer.state.clear()
    for group in optimizer.param_groups:
        for key in [key for key in group if key.startswith('initial_')]:
            group[key.removeprefix('initial_')] = group[key]
    if runner.param_schedulers:
        runner.param_schedulers = runner.build_param_scheduler(runner.cfg.param_scheduler)
