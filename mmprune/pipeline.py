"""dense → pruned → restored: the one path that configs, tools and Python share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import nn

from mmprune.checkpoint.record import structure_of
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.images.source import ImageSource
from mmprune.measure.complexity import Complexity, measure
from mmprune.measure.health import refuse_bad_numbers, refuse_bad_outputs, weak_layers
from mmprune.measure.speedup import CutTimes, is_slow, time_cut, why_slow
from mmprune.options import under
from mmprune.pruners.base import Plan, Pruner
from mmprune.report.report import Report, Stage
from mmprune.restorers.base import Restorer
from mmprune.restorers.benefit import NoiseErrors, agreed, is_harmful
from mmprune.surgery.masking import masks
from mmprune.surgery.snapshot import Snapshot

Evaluate = Callable[[], Mapping[str, float]]


@dataclass
class Pipeline:
    """Prunes one network and writes down what happened.

    Attributes:
        scope: The network and where to prune.
        pruner: Decides what goes.
        restorer: Repairs what is left, or None.
        evaluate: Measures the network as it is, or None to measure nothing.
        images: For parts that want them, or None.
        report: Grows with every stage.
        clock_s: How long the dense and the pruned network are timed for the report, in seconds; 0: not at all.
    """

    scope: Scope
    pruner: Pruner
    restorer: Restorer | None = None
    evaluate: Evaluate | None = None
    images: ImageSource | None = None
    report: Report = field(default_factory=Report)
    clock_s: float = 1.5

    def run(self, fraction: float = 1.0, dense_widths: Mapping[str, int] | None = None) -> Plan:
        """Prune and repair in place; whatever goes wrong, and also if it is interrupted, the network is as before.

        Args:
            fraction: Share of the full removal to do now (iterative schedules).
            dense_widths: Widths of the groups before the first step of a schedule.
        """
        snapshot = Snapshot(self.scope.model)
        try:
            return self._run(fraction, dense_widths, snapshot)
        except BaseException:
            snapshot.take_back()
            raise

    def _run(self, fraction: float, dense_widths: Mapping[str, int] | None, snapshot: Snapshot) -> Plan:
        if self.restorer is not None and self.restorer.needs_images and self.images is None:
            raise ConfigError(
                f'restorer: {type(self.restorer).__name__} needs images; give pruning.images '
                "(e.g. 'train_dataloader'), or a restorer that needs none"
            )
        refuse_bad_numbers(self.scope.model, 'load_from')
        if not self.report.stages:
            self._describe()
        start = time.perf_counter()
        with tracing_mode(self.scope.model), _mistakes_of_input('pruner', self.pruner):
            plan = self.pruner.plan(self.scope, self.images, fraction, dense_widths)
        self.report.layers, seconds = plan.rows, time.perf_counter() - start
        if plan.budget is not None:
            self.report.extra['budget'] = asdict(plan.budget)
        self._take_warnings(plan)
        times = self._time(plan)
        milliseconds = self.report.stages[-1].target_ms * times.ratio if times else 0.0
        if self.restorer is None:
            start = time.perf_counter()
            snapshot.keep_values(plan.written())
            with tracing_mode(self.scope.model):
                plan.apply()
            self._warn_if_slow(self.stage('pruned', start - seconds, plan.note, milliseconds), plan, times)
            return plan
        noise = NoiseErrors(self.scope)
        with plan.trial():
            stage, sliced = self.stage('pruned', time.perf_counter() - seconds, plan.note, milliseconds), noise.error()
            self._warn_if_slow(stage, plan, times)
        start = time.perf_counter()
        snapshot.keep_values()
        self._repair(plan, self.restorer)
        note = f'{type(self.restorer).__name__}, {self.restorer.uses}'
        repaired = noise.error()
        if agreed(is_harmful(sliced, repaired)):
            snapshot.take_back()
            with tracing_mode(self.scope.model):
                plan.apply()
            note = self._say_taken_back(plan, sliced, repaired)
        self._take_warnings(plan)
        self.stage('restored', start, note, milliseconds)
        return plan

    def _describe(self) -> None:
        """The network as it is before anything happens."""
        self.report.warnings += refuse_bad_outputs(self.scope)
        if self.pruner.default_restorer is not None:  # some prune at initialisation, where zeros are meant
            self.report.warnings += weak_layers(self.scope.model)
        self.report.target = ', '.join(target for target in self.scope.targets if target)
        self.stage('dense', time.perf_counter(), pruned_before(self.scope.model))

    def _repair(self, plan: Plan, restorer: Restorer) -> None:
        with tracing_mode(self.scope.model), _mistakes_of_input('restorer', restorer):
            plan.apply(restorer, self.images)
        refuse_bad_numbers(
            self.scope.model, f'restorer: {type(restorer).__name__} failed on this network and its images'
        )

    def _say_taken_back(self, plan: Plan, sliced: float, repaired: float) -> str:
        """Write into the rows and warnings that a repair was taken back; the stage's note."""
        name = type(self.restorer).__name__
        for row in plan.rows:
            row.repair = f'only sliced: {name} was taken back' if row.repair else ''
        plan.warnings.append(
            f'restorer: {name} was taken back: on noise the outputs of the repaired network are further from those of '
            f'the dense one than without a repair (error {repaired:.2g} instead of {sliced:.2g}); try '
            'MomentRestoration, or another criterion'
        )
        return f'{name} taken back, only sliced'

    def _take_warnings(self, plan: Plan) -> None:
        self.report.warnings = list(dict.fromkeys([*self.report.warnings, *plan.warnings]))

    def _time(self, plan: Plan) -> CutTimes | None:
        """Times inside the targets before the plan and after it; None if nothing is timed."""
        times, last = None, self.report.stages[-1]
        if self.clock_s:
            times = time_cut(self.scope, plan.trial, self.clock_s)
        if times and last is self.report.stages[0]:
            last.target_ms = round(times.before_ms, 3)
        return times

    def _warn_if_slow(self, stage: Stage, plan: Plan, times: CutTimes | None) -> None:
        """Say so, and why, where fewer FLOPs certainly do not mean less time."""
        dense = self.report.stages[0]
        if not (times and dense.target_ms and dense.target_flops):
            return
        flops, spent = stage.target_flops / dense.target_flops, stage.target_ms / dense.target_ms
        if is_slow(flops, spent / times.ratio * times.surely_left):
            cut = [row for row in plan.rows if row.after < row.before]
            layers, widths = {name for row in cut for name in row.members}, [(row.before, row.after) for row in cut]
            self.report.warnings.append(
                f'{flops:.0%} of the FLOPs of the target take {spent:.0%} of its time on this device at input '
                f'{"×".join(map(str, self.report.input_shape))}: {why_slow(self.scope, layers, widths)}'
            )

    def stage(self, name: str, start: float, note: str = '', target_ms: float = 0.0) -> Stage:
        """Measure the network as it is now and append it to the report; evaluation is not in ``seconds``."""
        seconds = time.perf_counter() - start
        counts: Complexity = measure(self.scope)
        metrics = dict(self.evaluate()) if self.evaluate is not None else {}
        stage = Stage(
            name,
            counts.params,
            counts.flops,
            counts.nonzero_params,
            counts.target_params,
            counts.target_flops,
            metrics,
            round(seconds, 3),
            note,
            round(target_ms, 3),
        )
        self.report.input_shape = counts.input_shape
        dense = self.report.extra.get('layer_flops') or {}  # of every layer: dense, now
        self.report.extra['layer_flops'] = {
            key: [dense.get(key, [count])[0], counts.layer_flops.get(key, 0)]
            for key, count in {**counts.layer_flops, **dense}.items()
        }
        self.report.stages.append(stage)
        return stage


@contextmanager
def _mistakes_of_input(key: str, part: Pruner | Restorer) -> Iterator[None]:
    """Parts refuse what they cannot work with by a plain ValueError that names the option."""
    try:
        with under(key, part):
            yield
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(str(error)) from error


def pruned_before(model: nn.Module) -> str:
    """A remark about a network that is pruned already, with the share that is left; empty if it is not."""
    structure, masked = structure_of(model), masks(model)
    if structure is None and not masked:
        return ''
    now = dense = sum(parameter.numel() for parameter in model.parameters())
    now -= sum(int((mask == 0).sum()) for mask in masked.values())  # those of torch.nn.utils.prune are numbers
    for name, kept in structure.modules.items() if structure else ():
        module = model.get_submodule(name)
        outputs, inputs = (before / after for before, after in zip(kept.dense, kept.after(module)))
        for parameter in module.parameters(recurse=False):
            whole = outputs * inputs if parameter.dim() > 1 and parameter.shape[1] > 1 else outputs
            dense += round(parameter.numel() * (whole - 1))
    return f"already pruned: {now / dense:.1%} of the dense network's parameters are left"


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
