"""The ``pruning`` dict of a config, read once: parts built, values checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from mmprune.distillation.settings import FeatureDistillation
from mmprune.engine.schedule import Schedule
from mmprune.errors import ConfigError
from mmprune.images.loader import LOADERS
from mmprune.images.synthesizer import Synthesizer
from mmprune.options import Checked, Count, ImageShape, PartConfig, Says, build
from mmprune.pruners.base import Pruner
from mmprune.registry import DISTILLATIONS, PRUNERS, RESTORERS, SYNTHESIZERS, build_part
from mmprune.restorers.base import Restorer

Target = Annotated[str | Sequence[str], Says("a module path such as 'backbone', or a list of them")]
Synthesis = Annotated[dict, Says("a synthesizer such as dict(type='DeepInversion', num_images=1600)")]
ImageOrigin = Literal['train_dataloader', 'val_dataloader', 'test_dataloader'] | Synthesis
ScheduleConfig = Annotated[dict, Says("a dict such as dict(type='cubic', steps=5)")]

#: Difference of two shares that is rounding, of what remains.
CLOSE = 0.05


class Settings(Checked):
    """Everything that a run is to do: the parts that a config's ``pruning`` dict names, built, and its plain values.

    Example:
        >>> settings = Settings(dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.3)), restorer='LBYL')
        >>> settings.restorer.needs_images
        False
    """

    def __init__(
        self,
        pruner: PartConfig,
        target: Target = 'backbone',
        restorer: PartConfig | None = 'default',
        images: ImageOrigin | None = None,
        num_images: Count = 1000,
        finetune: bool = False,
        evaluate: bool = True,
        schedule: ScheduleConfig | None = None,
        distillation: PartConfig | None = None,
        input_shape: ImageShape | None = None,
    ) -> None:
        """Build and check what the keys of a ``pruning`` dict say.

        Args:
            pruner: What is taken away.
            target: Module path(s) inside which it is taken.
            restorer: How the loss is repaired; None: not at all. 'default' is the pruner's own choice, which needs no
                data: ``MomentRestoration`` after anything that prunes a trained network.
            images: For parts that want images: a data loader to take them from, or a synthesizer, e.g.
                ``dict(type='DeepInversion', num_images=1600)``, which makes them from the dense network.
            num_images: How many to take from a loader.
            finetune: Whether the config's own training follows.
            evaluate: Whether every stage is evaluated on the test set.
            schedule: For iterative pruning, e.g. ``dict(type='cubic', steps=5, interval=2)``.
            distillation: The training that follows copies the dense network instead of learning labels, e.g.
                ``dict(type='FeatureDistillation', weights=2)``.
            input_shape: (C, H, W) of the example input; FLOPs and time are measured at this size. None: that which
                the config's own test pipeline gives the network.

        Raises:
            ConfigError: A wrong or contradictory value; the message begins with its key.
        """
        self.pruner: Pruner = build_part(PRUNERS, pruner, 'pruner')
        #: True where the config leaves the repair to the pruner.
        self.repairs_by_default = restorer == 'default'
        self.restorer: Restorer | None = self._repair(restorer)
        self.schedule = build(Schedule, schedule or {}, 'schedule')
        if not target and target != '':
            raise ConfigError("target: empty; give '' for the whole model")
        if not finetune and (self.schedule.steps > 1 or self.schedule.begin > 0):
            raise ConfigError('schedule: steps between epochs of training need pruning.finetune=True')
        self._check_amount(getattr(getattr(self.pruner, 'allocator', None), 'ratio', None))
        if images is None and getattr(self.restorer, 'needs_images', False):
            raise ConfigError(
                f'images: {type(self.restorer).__name__} needs images; name a data loader, one of {", ".join(LOADERS)}'
            )
        self.target, self.num_images = target, num_images
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self.finetune, self.evaluate = finetune, evaluate
        #: The data loader of the config that images are taken from, or what makes them; at most one of the two.
        self.loader: str | None = images if isinstance(images, str) else None
        self.synthesizer: Synthesizer | None = (
            build_part(SYNTHESIZERS, images, 'images') if isinstance(images, dict) else None
        )
        self.distillation: FeatureDistillation | None = (
            None if distillation is None else build_part(DISTILLATIONS, distillation, 'distillation')
        )
        if self.distillation is not None:
            self._check_distillation(self.distillation)

    @property
    def needs_teacher(self) -> bool:
        """True where the dense network is wanted after the first cut."""
        return self.distillation is not None or (self.synthesizer is not None and self.finetune)

    def _check_amount(self, ratio: float | None) -> None:
        """Steps of a share of what is left decide how much goes in all: the allocator must say the same."""
        amount, steps = self.schedule.amount, self.schedule.steps
        if not amount or not ratio or abs((1 - amount) ** steps / (1 - ratio) - 1) <= CLOSE:
            return
        raise ConfigError(
            f'schedule.amount: {steps} steps that each remove {amount:g} of what is left remove '
            f'{1 - (1 - amount) ** steps:.4g} in all, but pruner.allocator.ratio is {ratio:g}; set the ratio to that, '
            f'or amount={1 - (1 - ratio) ** (1 / steps):.4g}'
        )

    def _repair(self, restorer: PartConfig | None) -> Restorer | None:
        chosen = self.pruner.default_restorer if restorer == 'default' else restorer
        return None if chosen is None else build_part(RESTORERS, chosen, 'restorer')

    def _check_distillation(self, distillation: FeatureDistillation) -> None:
        if not self.finetune:
            raise ConfigError(
                "finetune: distillation is the run's training; set it to True, or drop pruning.distillation"
            )
        if self.schedule.begin > 0:
            raise ConfigError('schedule.begin: there is nothing to distil before the first cut; set it to 0')
        if distillation.images != 'real' and self.synthesizer is None:
            raise ConfigError(
                f'images: distillation.images={distillation.images!r} needs a synthesizer, e.g. '
                "dict(type='DeepInversion', num_images=1600)"
            )
