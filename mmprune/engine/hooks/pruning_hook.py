"""Pruning inside an mmengine run."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn

from mmprune.checkpoint.state import save
from mmprune.engine.inputs import input_hashes
from mmprune.engine.rebuild import (
    averaged,
    averages_paused,
    forget_stale_state,
    fresh_optimizer,
    reconnect_averages,
    restart_averages,
    rewrap,
)
from mmprune.engine.schedule import Schedule
from mmprune.engine.settings import ImageOrigin, ScheduleConfig, Target, check_distillation
from mmprune.engine.teacher import fingerprint, keep_teacher, recall_teacher
from mmprune.engine.training_set import attach_images
from mmprune.errors import CheckpointError, ConfigError
from mmprune.graph.scope import Scope, unwrap
from mmprune.images.loader import LOADERS, LoaderImages
from mmprune.measure.health import refuse_bad_numbers
from mmprune.options import Checked, Count, ImageShape, PartConfig, build, under
from mmprune.pipeline import Pipeline, seed_everything
from mmprune.registry import DISTILLATIONS, HOOKS, PRUNERS, RESTORERS, SYNTHESIZERS, build_part
from mmprune.report.html import write_html_report
from mmprune.report.plots import plot_report
from mmprune.report.report import Report
from mmprune.storage.files import write_atomically

#: What a run says that was given no checkpoint.
UNTRAINED = 'load_from is not set: the network being pruned has its INITIAL, untrained weights'
#: Under this key of ``checkpoint['meta']`` a run keeps how far pruning went.
PROGRESS = 'mmprune'


@HOOKS.register_module()
class PruningHook(Checked, Hook):
    """Prunes and repairs the network before training starts (or step by step during it), and reports.

    Weights to be scored exist from ``before_train`` on, when the optimiser and DDP already hold the parameters:
    cutting keeps every ``Parameter`` object; what was made for the old widths is rebuilt.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        pruner: PartConfig,
        target: Target = 'backbone',
        restorer: PartConfig | None = None,
        images: ImageOrigin | None = None,
        num_images: Count = 1000,
        finetune: bool = False,
        evaluate: bool = True,
        schedule: ScheduleConfig | None = None,
        distillation: PartConfig | None = None,
        input_shape: ImageShape = (3, 224, 224),
    ) -> None:
        """See the class; these are the keys of a config's ``pruning`` dict.

        Args:
            pruner: What is taken away.
            target: Module path(s) inside which it is taken.
            restorer: How the loss is repaired.
            images: For parts that want images: a data loader to take them from, or a synthesizer, e.g.
                ``dict(type='DeepInversion', num_images=1600)``, which makes them from the dense network.
            num_images: How many to take from a loader.
            finetune: Whether the config's own training follows.
            evaluate: Whether every stage is evaluated on the test set.
            schedule: For iterative pruning, e.g. ``dict(type='cubic', steps=5, interval=2)``.
            distillation: The training that follows copies the dense network instead of learning labels, e.g.
                ``dict(type='FeatureDistillation', weights=2)``.
            input_shape: (C, H, W) of the example input; FLOPs are counted at this size.
        """
        self.pruner = build_part(PRUNERS, pruner, 'pruner')
        self.restorer = None if restorer is None else build_part(RESTORERS, restorer, 'restorer')
        self.schedule = build(Schedule, schedule or {}, 'schedule')
        if not target and target != '':
            raise ConfigError("target: empty; give '' for the whole model")
        if not finetune and (self.schedule.steps > 1 or self.schedule.begin > 0):
            raise ConfigError('schedule: steps between epochs of training need pruning.finetune=True')
        if images is None and getattr(self.restorer, 'needs_images', False):
            raise ConfigError(
                f'images: {type(self.restorer).__name__} needs images; name a data loader, one of {", ".join(LOADERS)}'
            )
        self.synthesizer = build_part(SYNTHESIZERS, images, 'images') if isinstance(images, dict) else None
        self.distillation = None if distillation is None else build_part(DISTILLATIONS, distillation, 'distillation')
        if self.distillation is not None:
            check_distillation(self.distillation, self.synthesizer, finetune, self.schedule)
        self.target, self.images, self.num_images = target, images, num_images
        self.finetune, self.evaluate = finetune, evaluate
        self.input_shape = tuple(input_shape)
        self.pipeline: Pipeline | None = None
        self._step, self._widths = -1, None  # last step done, widths of the groups before the first
        self._resumed: Mapping | None = None
        self._start = 0.0
        self._blank: nn.Module | None = None  # of a resumed run: the network as the config builds it
        self._teacher: nn.Module | None = None
        self._teacher_print = ''

    def before_run(self, runner: Runner) -> None:
        """Keep the network as built where a resume will need the dense one beside the pruned one."""
        if runner._resume and self._needs_teacher():
            self._blank = copy.deepcopy(unwrap(runner.model))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember how far the run was that is being resumed."""
        if runner._resume:
            self._resumed = _checked_progress(checkpoint.get('meta', {}).get(PROGRESS))

    def before_train(self, runner: Runner) -> None:
        """Prune now (or only set up, when training is resumed)."""
        if not self.finetune:
            raise ConfigError(
                'pruning.finetune: is False, but this is a training run; '
                'use tools/train.py, which does not train then, or set it to True'
            )
        if runner._resume and runner.iter > 0:
            self._take_up(runner)
        elif self.schedule.begin == 0:
            self.prune(runner, self.schedule.fraction(0), step=0)
        else:
            self._set_up(runner)
        if self.distillation is not None:
            self._distil(runner)
        self._start = time.perf_counter() - (self._resumed or {}).get('seconds', 0.0)

    def before_train_epoch(self, runner: Runner) -> None:
        """Take the next step of an iterative schedule."""
        step = self.schedule.step_at(runner.epoch)
        if step is not None and step > self._step:
            self.prune(runner, self.schedule.fraction(step), step)
            if self.distillation is not None:
                self._distil(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the progress into the checkpoint, and leave only plain data in it, which needs no trust to load.

        Nothing is written of a network that training has ruined: the last good checkpoint stays the last.
        """
        _refuse_diverged(runner)
        progress = {
            'report': json.loads(json.dumps(self.pipeline.report.to_dict(), default=str)),
            'step': self._step,
            'widths': self._widths,
            'seconds': time.perf_counter() - self._start,
        }
        if self._teacher is not None:
            progress['teacher'] = self._teacher_print
        checkpoint['meta'] = {**_plain(checkpoint['meta']), PROGRESS: progress}
        hub = checkpoint.get('message_hub') or {}
        if 'runtime_info' in hub:
            hub['runtime_info'] = type(hub['runtime_info'])(_plain(hub['runtime_info']))

    def after_train(self, runner: Runner) -> None:
        """Evaluate the fine-tuned network and finish the report."""
        _refuse_diverged(runner)
        unwrap(runner.model).__dict__.pop('loss', None)  # the host's own again
        data = type(runner.train_dataloader.dataset).__name__
        self.pipeline.stage('finetuned', self._start, f'{runner.iter} iterations with {data}')
        with averaged(runner):
            self.finish(runner, 'finetuned.pth')

    def prune(self, runner: Runner, fraction: float = 1.0, step: int = 0) -> None:
        """Prune the runner's network in place, evaluate each stage, write ``pruned.pth`` and the report.

        Args:
            runner: Has loaded its weights.
            fraction: Share of the full removal to reach, in (0, 1].
            step: Number of the schedule's step.
        """
        if self.pipeline is None:
            self._set_up(runner)
        seed_everything(runner.seed + step)  # all processes draw the same
        with averages_paused(runner), under('pruning', PruningHook):
            plan = self.pipeline.run(fraction, self._widths)
        self._step, self._widths = step, self._widths or {row.name: row.before for row in plan.rows}
        for row in plan.rows:  # the report tells what the whole schedule did, not its last step
            row.before = self._widths.get(row.name, row.before)
            row.reason = row.reason if row.after == row.before else ''
        rewrap(runner)
        restart_averages(runner)
        forget_stale_state(runner)
        if self.schedule.fresh_optimizer and step > 0:
            fresh_optimizer(runner)
        if step == 0 and is_main_process():  # an earlier run's last checkpoint is not this run's
            (Path(runner.work_dir) / 'last_checkpoint').unlink(missing_ok=True)
        self.finish(runner, 'pruned.pth')

    def finish(self, runner: Runner, filename: str) -> None:
        """Write checkpoint, config, report and picture, and print the table."""
        if not is_main_process():
            return
        report, work_dir = self.pipeline.report, Path(runner.work_dir)
        save(unwrap(runner.model), work_dir / filename, meta=self._meta(runner))
        write_atomically(work_dir / Path(runner.cfg.filename or 'config').with_suffix('.py').name, report.config)
        report.save(work_dir / 'report.json')
        plot_report(report, work_dir / 'report.png')
        write_html_report(report, work_dir, self.pipeline.images)
        runner.logger.info(f'\n{report}\n\nwritten: {work_dir / filename}, report.json, report.png, report.html')

    def _set_up(self, runner: Runner) -> None:
        model = unwrap(runner.model)
        device = next(model.parameters()).device
        with under('pruning', PruningHook):
            scope = Scope.of(model, torch.zeros(1, *self.input_shape, device=device), self.target)
        images = self._images(runner, scope)
        evaluate = (lambda: self._evaluate(runner)) if self.evaluate else None
        self.pipeline = Pipeline(scope, self.pruner, self.restorer, evaluate, images)
        report = self.pipeline.report
        report.seed, report.config = runner.seed, runner.cfg.pretty_text
        report.extra['inputs'] = input_hashes(runner.cfg)
        if self.synthesizer is not None:
            report.extra['synthesis'] = dict(images=images.num_images, seconds=round(images.seconds, 3))
        trained = runner._load_from is not None or runner._resume or _has_checkpoint(runner.cfg.model)
        if not trained and self.pruner.default_restorer is not None:  # some prune at initialisation on purpose
            report.warnings.append(UNTRAINED)
            runner.logger.warning(UNTRAINED)

    def _needs_teacher(self) -> bool:
        """Whether the dense network is wanted after the first cut."""
        return self.distillation is not None or (self.synthesizer is not None and self.finetune)

    def _images(self, runner: Runner, scope: Scope) -> Iterable[Tensor] | None:
        """The images for parts that want them; synthetic ones are made from the dense network, or found again."""
        if self._needs_teacher():
            self._teacher = (
                keep_teacher(runner)
                if self._resumed is None
                else recall_teacher(runner, self._blank, self._resumed.get('teacher', ''))
            )
            self._blank, self._teacher_print = None, fingerprint(self._teacher)
        if self.synthesizer is not None:
            dense = scope if self._teacher is None else Scope.of(self._teacher, scope.example, self.target)
            try:
                return self.synthesizer.prepare(dense, runner.work_dir)
            except ValueError as error:
                raise ConfigError(f'pruning.images: {error}') from error
        return (
            None
            if self.images is None
            else LoaderImages(runner.cfg, scope.model, self.images, self.num_images, runner.seed)
        )

    def _distil(self, runner: Runner) -> None:
        """Let training minimise the distance to the dense network; as a plain attribute, so that no key changes."""
        model = unwrap(runner.model)
        scope = self.pipeline.scope
        model.loss = self.distillation.loss(model, self._teacher, scope.targets, scope.example)
        if self.distillation.images != 'real':
            attach_images(runner, self.pipeline.images)
        names = ', '.join(point.name for point, _ in model.loss.terms.values())
        runner.logger.info(f'distillation compares {len(model.loss.terms)} outputs with the dense network: {names}')

    def _take_up(self, runner: Runner) -> None:
        """Go on where the resumed run was; loading has cut the network already."""
        if self._resumed is None:
            raise ConfigError(
                'resume: the checkpoint is not from a run with `pruning`; '
                'to prune its network, give it as load_from instead'
            )
        self._set_up(runner)
        try:
            report = Report.from_dict(self._resumed['report'])
        except ValueError as error:
            raise CheckpointError(f'resume: what the checkpoint tells about pruning is damaged: {error}') from error
        report.config, report.seed = self.pipeline.report.config, runner.seed
        report.stages = [stage for stage in report.stages if stage.name != 'finetuned']
        self.pipeline.report = report
        self._step, self._widths = self._resumed['step'], self._resumed['widths']
        rewrap(runner)
        reconnect_averages(runner)

    def _evaluate(self, runner: Runner) -> Mapping[str, float]:
        modes = {module: module.training for module in runner.model.modules()}
        try:
            metrics = runner.test_loop.run()
        except (FileNotFoundError, NotADirectoryError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(
                f'test_dataloader: its data cannot be read ({reason}); to prune without evaluating set '
                'pruning.evaluate=False'
            ) from error
        for module, mode in modes.items():
            module.training = mode
        return {key: number for key, value in metrics.items() if (number := _number(value)) is not None}

    def _meta(self, runner: Runner) -> dict:
        """What inference wants to know beside the weights."""
        meta = {'cfg': self.pipeline.report.config, 'seed': runner.seed}
        for loop in (runner._train_loop, runner._test_loop):
            metainfo = getattr(loop.dataloader.dataset, 'metainfo', None) if isinstance(loop, BaseLoop) else None
            if metainfo:
                meta['dataset_meta'] = _plain(metainfo)
                break
        return meta


def _checked_progress(progress: object) -> dict | None:
    """What a checkpoint tells about pruning, if it does; refused if it is of the wrong kind."""
    kinds = {'report': dict, 'step': int, 'widths': (dict, type(None)), 'seconds': (int, float), 'teacher': str}
    if progress is None:
        return None
    for key, kind in kinds.items():
        value = (
            progress.get(key, '' if key == 'teacher' else 0.0 if key == 'seconds' else ...)
            if isinstance(progress, dict)
            else ...
        )
        if not isinstance(value, kind) or key == 'widths' and any(type(n) is not int for n in (value or {}).values()):
            raise CheckpointError(f'resume: what the checkpoint tells about pruning is damaged ({key})')
    return progress


def _refuse_diverged(runner: Runner) -> None:
    cure = 'take a smaller optimizer.lr, or clip_grad=dict(max_norm=10)'
    refuse_bad_numbers(unwrap(runner.model), f'optim_wrapper: training diverged at iteration {runner.iter} ({cure})')


def _has_checkpoint(model_cfg: object) -> bool:
    """Whether an ``init_cfg`` somewhere in a model's config loads weights."""
    if isinstance(model_cfg, dict):
        return 'checkpoint' in model_cfg or any(_has_checkpoint(value) for value in model_cfg.values())
    return isinstance(model_cfg, (list, tuple)) and any(_has_checkpoint(item) for item in model_cfg)


def _number(metric: object) -> float | None:
    """A metric as a number; matrices and texts have no place in a table of stages."""
    try:
        return float(metric)
    except (TypeError, ValueError, RuntimeError):
        return None


def _plain(value: object) -> object:
    """A value without types of its own (``ConfigDict``, NumPy scalars), so that checkpoints stay plain data."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value.item() if hasattr(value, 'item') and getattr(value, 'ndim', 1) == 0 else value
