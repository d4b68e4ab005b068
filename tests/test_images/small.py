"""Networks so small that an inversion takes a second, with statistics as if they had been trained."""

import json

import torch
from torch import Tensor, nn

from mmprune.graph.scope import Scope
from mmprune.images import DeepInversion, ImageStore

SHAPE = 3, 12, 12
QUICK = dict(num_images=20, batch_size=8, phases=[dict(iterations=6, jitter=2)], warmup=2, progress=False)


class Features(nn.Sequential):
    """Two convs with batch norm; (N, 3, H, W) → (N, 6, H / 2, W / 2)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.ReLU(inplace=True),
            nn.Conv2d(5, 6, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )


class Classifier(nn.Module):
    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.backbone, self.head = Features(), nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images).mean(dim=(2, 3)))


class Detector(nn.Module):
    """A backbone and a neck with a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.neck = Features(), nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return features, self.neck(features)


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with statistics of its own of smooth images, in training mode as a run has it."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / max(1, parameter[0].numel()) ** 0.5
    model.train()
    for _ in range(30):
        coarse = torch.randn(32, 3, 4, 4, generator=generator)
        with torch.no_grad():
            model(nn.functional.interpolate(coarse, scale_factor=3, mode='bilinear') * 0.7 + 0.3)
    return model


def scope_of(model: nn.Module, target: str = '') -> Scope:
    return Scope.of(model, torch.zeros(1, *SHAPE), target)


def quick(**options: object) -> DeepInversion:
    return DeepInversion(**{**QUICK, **options})


def contents(store: ImageStore) -> dict[str, object]:
    """The files of a set, without the seconds that making them took."""
    files = {path.name: path.read_bytes() for path in sorted(store.folder.iterdir()) if path.name[0] != '.'}
    return {name: _untimed(content) if name.endswith('.json') else content for name, content in files.items()}


def _untimed(content: bytes) -> dict:
    return {key: value for key, value in json.loads(content).items() if key != 'seconds'}
