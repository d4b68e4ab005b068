"""Runs of a config with ``pruning``."""

from __future__ import annotations

import copy

from mmengine.config import Config
from mmengine.runner import Runner

from mmprune.engine.hooks.pruning_hook import PruningHook
from mmprune.engine.runner import SafeRunner
from mmprune.report.report import Report
from mmprune.storage.lock import is_writer, locked


class PruningRunner(SafeRunner):
    """A Runner that leaves an earlier run's config in the work dir alone.

    The config is written (by the pruning hook) together with the first file that it belongs to, so that a run that
    fails early changes nothing.
    """

    def dump_config(self) -> None:
        """Do nothing yet."""

    @classmethod
    def from_cfg(cls, cfg: Config) -> PruningRunner:
        """Build from a config that ``prepare_config`` prepared; without fine-tuning, build nothing of training."""
        given = copy.deepcopy(cfg)
        if cfg.get('pruning') and not cfg.pruning.get('finetune', False):
            for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
                given[key] = None
        runner = super().from_cfg(given)
        runner.cfg = copy.deepcopy(cfg)
        return runner


def prune_only(runner: Runner) -> Report:
    """Do what a config with ``pruning.finetune=False`` asks for; no training data, optimiser or loop is built.

    Args:
        runner: Built from a config that ``prepare_config`` prepared.
    """
    hook = next(hook for hook in runner.hooks if isinstance(hook, PruningHook))
    runner.call_hook('before_run')
    runner._init_model_weights()
    runner.load_or_resume()
    hook.prune(runner)
    runner.call_hook('after_run')
    return hook.pipeline.report


def run(cfg: Config, resume: str | None = None) -> None:
    """Do the whole job of a prepared config and leave its results in ``cfg.work_dir``.

    Args:
        cfg: With ``pruning``, or without it for ordinary training.
        resume: Checkpoint of an interrupted run to go on from.
    """
    pruning = cfg.get('pruning')
    with locked(cfg.work_dir, is_writer(cfg.get('launcher', 'none'))):
        runner = (PruningRunner if pruning else SafeRunner).from_cfg(cfg)
        if resume is not None:
            runner._load_from, runner._resume = resume, True
        if not pruning or pruning.get('finetune', False):
            runner.train()
        else:
            prune_only(runner)
