"""Pruning inside an mmengine run."""

from __future__ import annotations

import copy
import time
from functools import partial
from pathlib import Path
from typing import cast

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmprune.checkpoint.mending import mend
from mmprune.engine.config import has_weights
from mmprune.engine.hooks.distillation_hook import DistillationHook
from mmprune.engine.hooks.report_hook import ReportHook
from mmprune.engine.input_shape import input_shape_of
from mmprune.engine.inputs import input_hashes
from mmprune.engine.rebuild import (
    averaged,
    averages_paused,
    fresh_optimizer,
    reconnect_averages,
    restart_averages,
    rewrap,
    share_statistics,
)
from mmprune.engine.resume import Progress, plain
from mmprune.engine.runner import checkpoint_of, evaluate, is_resumed
from mmprune.engine.settings import Settings
from mmprune.engine.teacher import fingerprint, keep_teacher, recall_teacher
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope, unwrap
from mmprune.images.loader import LoaderImages
from mmprune.images.source import ImageSource
from mmprune.images.store import ImageStore
from mmprune.measure.health import refuse_bad_numbers
from mmprune.options import build, under
from mmprune.pipeline import Pipeline, seed_everything
from mmprune.registry import HOOKS

#: What a run says that was given no checkpoint.
UNTRAINED = 'load_from is not set: the network being pruned has its INITIAL, untrained weights'


@HOOKS.register_module()
class PruningHook(Hook):
    """Takes the steps of a pruning schedule: before training starts, and between its epochs.

    Weights to be scored exist from ``before_train`` on, when the optimiser and DDP already hold the parameters:
    cutting keeps every ``Parameter`` object; what was made for the old widths is rebuilt.

    What follows from a step is the work of other hooks, which this one brings where the run has none: it calls
    ``after_prune`` and ``after_finetune`` (:class:`ReportHook`), and ``before_finetune`` (:class:`DistillationHook`)
    of every hook that has them.
    """

    priority = 'VERY_LOW'

    def __init__(self, settings: Settings | None = None, **pruning: object) -> None:
        """Read what is to be done.

        Args:
            settings: If they are made already.
            **pruning: The keys of a config's ``pruning`` dict, see :class:`Settings`.
        """
        self.settings = build(Settings, pruning, 'pruning') if settings is None else settings
        self._pipeline: Pipeline | None = None
        self.teacher: nn.Module | None = None
        self._step = -1  # the last one done
        self._widths: dict[str, int] | None = None  # of the groups before the first step
        self._resumed: Progress | None = None
        self._start = 0.0
        self._fingerprint = ''  # of the teacher
        self._blank: nn.Module | None = None  # of a resumed run: the network as the config builds it

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the run and its report; there from ``before_train`` on."""
        if self._pipeline is None:
            raise RuntimeError('PruningHook: nothing is set up before training starts')
        return self._pipeline

    def before_run(self, runner: Runner) -> None:
        """Bring the other hooks; keep the network as built where a resume will need the dense one beside it."""
        distillation = self.settings.distillation
        if distillation is not None and not any(isinstance(hook, DistillationHook) for hook in runner.hooks):
            runner.register_hook(DistillationHook(distillation))
        if not any(isinstance(hook, ReportHook) for hook in runner.hooks):
            runner.register_hook(ReportHook())
        if is_resumed(runner) and self.settings.needs_teacher:
            self._blank = copy.deepcopy(unwrap(runner.model))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember how far the run was that is being resumed."""
        if is_resumed(runner):
            self._resumed = Progress.from_meta(checkpoint.get('meta', {}))

    def before_train(self, runner: Runner) -> None:
        """Prune now (or only set up, when training is resumed)."""
        if not self.settings.finetune:
            raise ConfigError(
                'pruning.finetune: is False, but this is a training run; '
                'use tools/train.py, which does not train then, or set it to True'
            )
        schedule = self.settings.schedule
        if is_resumed(runner) and runner.iter > 0:
            self._take_up(runner)
        elif schedule.begin == 0:
            self.prune(runner, schedule.fraction(0), step=0)
        else:
            self._set_up(runner)
        self._announce_training(runner)
        self._start = time.perf_counter() - (0.0 if self._resumed is None else self._resumed.seconds)

    def before_train_epoch(self, runner: Runner) -> None:
        """Take the next step of an iterative schedule."""
        step = self.settings.schedule.step_at(runner.epoch)
        if step is not None and step > self._step:
            self.prune(runner, self.settings.schedule.fraction(step), step)
            self._announce_training(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the progress into the checkpoint, and leave only plain data in it, which needs no trust to load.

        Nothing is written of a network that training has ruined: the last good checkpoint stays the last.
        """
        _refuse_diverged(runner)
        seconds = time.perf_counter() - self._start
        progress = Progress(self.pipeline.report, self._step, self._widths, seconds, self._fingerprint)
        checkpoint['meta'] = {**plain(checkpoint['meta']), **progress.to_meta()}
        hub = checkpoint.get('message_hub') or {}
        if 'runtime_info' in hub:
            hub['runtime_info'] = type(hub['runtime_info'])(plain(hub['runtime_info']))

    def after_train(self, runner: Runner) -> None:
        """Evaluate the fine-tuned network and finish the report."""
        _refuse_diverged(runner)
        share_statistics(runner)
        data = type(runner.train_dataloader.dataset).__name__
        stage = self.pipeline.stage('finetuned', self._start, f'{runner.iter} iterations with {data}')
        with averaged(runner):
            runner.call_hook('after_finetune', pipeline=self.pipeline, stages=[stage])

    def prune(self, runner: Runner, fraction: float = 1.0, step: int = 0) -> None:
        """Prune the runner's network in place and evaluate each stage.

        Args:
            runner: Has loaded its weights.
            fraction: Share of the full removal to reach, in (0, 1].
            step: Number of the schedule's step.
        """
        if self._pipeline is None:
            self._set_up(runner)
        known = len(self.pipeline.report.stages)
        seed_everything(runner.seed + step)  # all processes draw the same
        with averages_paused(runner), under('pruning', Settings):
            plan = self.pipeline.run(fraction, self._widths)
        self._step, self._widths = step, self._widths or {row.name: row.before for row in plan.rows}
        for row in plan.rows:  # the report tells what the whole schedule did, not its last step
            row.before = self._widths.get(row.name, row.before)
            row.reason = row.reason if row.after == row.before else ''
        rewrap(runner)
        restart_averages(runner)
        mend(unwrap(runner.model), optimizer=getattr(runner.optim_wrapper, 'optimizer', ()))
        if self.settings.schedule.fresh_optimizer and step > 0:
            fresh_optimizer(runner)
        if step == 0 and is_main_process():  # an earlier run's last checkpoint is not this run's
            (Path(runner.work_dir) / 'last_checkpoint').unlink(missing_ok=True)
        runner.call_hook('after_prune', pipeline=self.pipeline, stages=self.pipeline.report.stages[known:])

    def _announce_training(self, runner: Runner) -> None:
        runner.call_hook('before_finetune', pipeline=self.pipeline, teacher=self.teacher)

    def _set_up(self, runner: Runner) -> None:
        settings, model = self.settings, unwrap(runner.model)
        device = next(model.parameters()).device
        shape, origin = input_shape_of(runner.cfg) if settings.input_shape is None else (settings.input_shape, '')
        with under('pruning', Settings):
            scope = Scope.of(model, torch.zeros(1, *shape, device=device), settings.target)
        images = self._images(runner, scope)
        metrics = partial(evaluate, runner) if settings.evaluate else None
        self._pipeline = Pipeline(scope, settings.pruner, settings.restorer, metrics, images)
        report = self.pipeline.report
        report.seed, report.config = runner.seed, runner.cfg.pretty_text
        if origin:
            report.extra['input_shape_from'] = origin
        report.extra['inputs'] = input_hashes(runner.cfg)
        if isinstance(images, ImageStore):
            report.extra['synthesis'] = dict(images=images.num_images, seconds=round(images.seconds, 3))
        trained = checkpoint_of(runner) is not None or is_resumed(runner) or has_weights(runner.cfg)
        if not trained and settings.pruner.default_restorer is not None:  # some prune at initialisation on purpose
            report.warnings.append(UNTRAINED)
            runner.logger.warning(UNTRAINED)

    def _images(self, runner: Runner, scope: Scope) -> ImageSource | None:
        """The images for parts that want them; synthetic ones are made from the dense network, or found again."""
        settings = self.settings
        if settings.needs_teacher:
            self.teacher = (
                keep_teacher(runner)
                if self._resumed is None
                else recall_teacher(runner, cast(nn.Module, self._blank), self._resumed.teacher)
            )
            self._blank, self._fingerprint = None, fingerprint(self.teacher)
        if settings.synthesizer is not None:
            dense = scope if self.teacher is None else Scope.of(self.teacher, scope.example, settings.target)
            with under('pruning.images', settings.synthesizer, every=True):
                return settings.synthesizer.prepare(dense, runner.work_dir)
        if settings.loader is not None:
            return LoaderImages(runner.cfg, scope.model, settings.loader, settings.num_images, runner.seed)
        return None

    def _take_up(self, runner: Runner) -> None:
        """Go on where the resumed run was; loading has cut the network already."""
        if self._resumed is None:
            raise ConfigError(
                'resume: the checkpoint is not from a run with `pruning`; '
                'to prune its network, give it as load_from instead'
            )
        self._set_up(runner)
        report = self._resumed.report
        report.config, report.seed = self.pipeline.report.config, runner.seed
        report.stages = [stage for stage in report.stages if stage.name != 'finetuned']
        self.pipeline.report = report
        if self.settings.repairs_by_default and report.stage('pruned') and not report.stage('restored'):
            self.pipeline.restorer = None  # begun when a config without `restorer` meant none
        self._step, self._widths = self._resumed.step, self._resumed.widths
        rewrap(runner)
        reconnect_averages(runner)


def _refuse_diverged(runner: Runner) -> None:
    cure = 'take a smaller optimizer.lr, or clip_grad=dict(max_norm=10)'
    refuse_bad_numbers(unwrap(runner.model), f'optim_wrapper: training diverged at iteration {runner.iter} ({cure})')
