"""Training that copies the dense network."""

from __future__ import annotations

from functools import partial
from typing import cast

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmprune.distillation.settings import FeatureDistillation
from mmprune.distillation.wrapper import DistillationWrapper
from mmprune.engine.rebuild import take_off_wrapper
from mmprune.engine.training_set import attach_images
from mmprune.images.store import ImageStore
from mmprune.options import under
from mmprune.pipeline import Pipeline
from mmprune.registry import DISTILLATIONS, HOOKS, build_part


@HOOKS.register_module()
class DistillationHook(Hook):
    """Wraps the pruned network so that it learns from the dense one, and gives the training set its images.

    :class:`PruningHook` brings one where the config has ``pruning.distillation``.
    """

    priority = 'VERY_LOW'

    def __init__(self, distillation: str | dict | FeatureDistillation) -> None:
        """Take the settings.

        Args:
            distillation: E.g. ``dict(type='FeatureDistillation', weights=2)``.
        """
        self.distillation: FeatureDistillation = build_part(DISTILLATIONS, distillation, 'pruning.distillation')

    def before_finetune(self, runner: Runner, pipeline: Pipeline, teacher: nn.Module) -> None:
        """Set up training of the network as it is now.

        Args:
            runner: Holds the pruned network.
            pipeline: Knows where was pruned, and has the images.
            teacher: The dense network.
        """
        scope, student = pipeline.scope, take_off_wrapper(runner)
        with under('pruning.distillation', self.distillation):
            loss = self.distillation.loss(student, teacher, scope.targets, cast(Tensor, scope.example))
        parallel = partial(runner.wrap_model, runner.cfg.get('model_wrapper_cfg')) if runner.distributed else None
        runner.model = DistillationWrapper(student, loss, parallel)
        if self.distillation.images != 'real':
            attach_images(runner, cast(ImageStore, pipeline.images))
        names = ', '.join(point.name for point, _ in loss.terms.values())
        runner.logger.info(f'distillation compares {len(loss.terms)} outputs with the dense network: {names}')
