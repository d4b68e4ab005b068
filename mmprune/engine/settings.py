"""What the keys of a config's ``pruning`` dict may hold."""

from __future__ import annotations

from mmprune.engine.schedule import Schedule
from mmprune.errors import ConfigError
from mmprune.images.loader import LOADERS


def check_kinds(
    target: object, images: object, num_images: object, finetune: object, evaluate: object, input_shape: object
) -> None:
    """Refuse values of the wrong kind, which would only show much later."""
    if not isinstance(target, str) and not (
        isinstance(target, (list, tuple)) and target and all(isinstance(item, str) for item in target)
    ):
        raise ConfigError(f"pruning.target: a module path such as 'backbone', or a list of them, got {target!r}")
    if images is not None and not isinstance(images, dict) and images not in LOADERS:
        raise ConfigError(
            f'pruning.images: one of {", ".join(LOADERS)}, a synthesizer such as '
            f"dict(type='DeepInversion', num_images=1600), or None, got {images!r}"
        )
    for key, value in (('finetune', finetune), ('evaluate', evaluate)):
        if not isinstance(value, bool):
            raise ConfigError(f'pruning.{key}: True or False, got {value!r}')
    if type(num_images) is not int or num_images < 1:
        raise ConfigError(f'pruning.num_images: a whole number of at least 1, got {num_images!r}')
    if not (
        isinstance(input_shape, (tuple, list))
        and len(input_shape) == 3
        and all(type(n) is int and n > 0 for n in input_shape)
    ):
        raise ConfigError(f'pruning.input_shape: (channels, height, width), got {input_shape!r}')


def check_distillation(distillation: object, synthesizer: object, finetune: bool, schedule: Schedule) -> None:
    """Refuse what distillation cannot do."""
    if not finetune:
        raise ConfigError(
            "pruning.finetune: distillation is the run's training; set it to True, or drop pruning.distillation"
        )
    if schedule.begin > 0:
        raise ConfigError('pruning.schedule.begin: there is nothing to distil before the first cut; set it to 0')
    if distillation.images != 'real' and synthesizer is None:
        raise ConfigError(
            f'pruning.images: distillation.images={distillation.images!r} needs a synthesizer, e.g. '
            "dict(type='DeepInversion', num_images=1600)"
        )
