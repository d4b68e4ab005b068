"""What the keys of a config's ``pruning`` dict may hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from mmprune.engine.schedule import Schedule
from mmprune.errors import ConfigError
from mmprune.options import Says

Target = Annotated[str | Sequence[str], Says("a module path such as 'backbone', or a list of them")]
Synthesis = Annotated[dict, Says("a synthesizer such as dict(type='DeepInversion', num_images=1600)")]
ImageOrigin = Literal['train_dataloader', 'val_dataloader', 'test_dataloader'] | Synthesis
ScheduleConfig = Annotated[dict, Says("a dict such as dict(type='cubic', steps=5)")]


def check_distillation(distillation: object, synthesizer: object, finetune: bool, schedule: Schedule) -> None:
    """Refuse what distillation cannot do."""
    if not finetune:
        raise ConfigError("finetune: distillation is the run's training; set it to True, or drop pruning.distillation")
    if schedule.begin > 0:
        raise ConfigError('schedule.begin: there is nothing to distil before the first cut; set it to 0')
    if distillation.images != 'real' and synthesizer is None:
        raise ConfigError(
            f'images: distillation.images={distillation.images!r} needs a synthesizer, e.g. '
            "dict(type='DeepInversion', num_images=1600)"
        )
