"""A network that every part can work on, in milliseconds."""

import torch
from torch import nn

from mmprune.registry import ALLOCATORS, CRITERIA, DISTILLATIONS, GRAPHS, PRUNERS, RESTORERS, SYNTHESIZERS
from tests.networks import randomise

EXAMPLE = torch.zeros(1, 3, 8, 8)
UNIFORM = dict(type='Uniform', ratio=0.5)
#: Arguments without which parts cannot be built, do not do their work, or take long.
NEEDED = {
    'RedundancyGraph': dict(num_images=8, batch_statistics=False),
    'RateDistortion': dict(curves=dict(num_images=4, points=3, cache=False, progress=False)),
    'DeepInversion': dict(num_images=4, batch_size=4, phases=[dict(iterations=2)], progress=False),
    'GaussianNoise': dict(num_images=8),
    'PinkNoise': dict(num_images=8),
}

for _registry in (ALLOCATORS, CRITERIA, DISTILLATIONS, GRAPHS, PRUNERS, RESTORERS, SYNTHESIZERS):
    _registry.import_from_location()


def part(name: str, **more: object) -> dict:
    return dict(type=name, **{**NEEDED.get(name, {}), **more})


def network() -> nn.Sequential:
    return randomise(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 6, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4),
        )
    )


def images(constant: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(
        (torch.full((16, 3, 8, 8), 0.5) if constant else torch.randn(16, 3, 8, 8, generator=generator)).split(8)
    )


def assert_sound(model: nn.Module) -> None:
    assert all(bool(torch.isfinite(value.float()).all()) for value in model.state_dict().values())
    assert bool(torch.isfinite(model.eval()(images()[0])).all())
