"""Files, table and scalars of a pruning run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmprune.checkpoint.state import save
from mmprune.engine.resume import plain
from mmprune.engine.runner import built_loops
from mmprune.graph.program import unwrap
from mmprune.pipeline import Pipeline
from mmprune.registry import HOOKS
from mmprune.report.html import write_html_report
from mmprune.report.plots import plot_report
from mmprune.report.report import Stage
from mmprune.storage.files import write_atomically

#: What a stage shows beside its metrics, where it is not 0.
COUNTS = ('params', 'nonzero_params', 'flops', 'target_ms')


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes network, config, report, picture and page, prints the table, and shows the stages to the visualiser.

    :class:`PruningHook` brings one and says when there is something new. ``pruned.pth`` and ``finetuned.pth`` hold the
    network alone; the checkpoints of training are mmengine's.
    """

    priority = 'VERY_LOW'

    def after_prune(self, runner: Runner, pipeline: Pipeline, stages: Sequence[Stage]) -> None:
        """Report a step of the schedule.

        Args:
            runner: Holds the pruned network.
            pipeline: Has the report of everything until now, and the images.
            stages: Those of the report that are new.
        """
        self._report(runner, pipeline, stages, 'pruned.pth')

    def after_finetune(self, runner: Runner, pipeline: Pipeline, stages: Sequence[Stage]) -> None:
        """Report the end of training; arguments as of :meth:`after_prune`."""
        self._report(runner, pipeline, stages, 'finetuned.pth')

    def _report(self, runner: Runner, pipeline: Pipeline, stages: Sequence[Stage], filename: str) -> None:
        if not is_main_process():
            return
        report, work_dir = pipeline.report, Path(runner.work_dir)
        meta = {'cfg': report.config, 'seed': runner.seed, **_dataset_meta(runner)}
        save(unwrap(runner.model), work_dir / filename, meta=meta)
        write_atomically(work_dir / Path(runner.cfg.filename or 'config').with_suffix('.py').name, str(report.config))
        for stage in stages:
            runner.visualizer.add_scalars(_scalars(stage), step=runner.iter)
        report.save(work_dir / 'report.json')
        plot_report(report, work_dir / 'report.png')
        write_html_report(report, work_dir, pipeline.images)
        runner.logger.info(f'\n{report}\n\nwritten: {work_dir / filename}, report.json, report.png, report.html')


def _scalars(stage: Stage) -> dict[str, float]:
    """Metrics and counts of a stage, by names such as ``pruned/accuracy/top1``; those that are finite."""
    values = {**stage.metrics, **{key: count for key in COUNTS if (count := getattr(stage, key))}}
    return {f'{stage.name}/{key}': value for key, value in values.items() if math.isfinite(value)}


def _dataset_meta(runner: Runner) -> dict[str, object]:
    """Meta information of the data set (classes, palette), which inference wants beside the weights."""
    for loop in built_loops(runner):
        if metainfo := getattr(loop.dataloader.dataset, 'metainfo', None):
            return {'dataset_meta': plain(metainfo)}
    return {}
