"""A machine without noise: its clock moves only while layers work, by what the test says they take."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mmprune.measure import stopwatch

EXAMPLE = torch.zeros(1, 3, 16, 16)


class Machine:
    """A clock that layers turn on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(stopwatch, 'perf_counter', lambda: self.now_s)

    def work(self, module: nn.Module, milliseconds: Callable[[nn.Module], float]) -> nn.Module:
        """Let every forward pass of a module take so long, also in copies of it."""

        def hook(module: nn.Module, args: object, output: object) -> None:
            self.now_s += 1e-3 * milliseconds(module)

        module.register_forward_hook(hook)
        return module


def weights(module: nn.Module) -> float:
    """One millisecond a weight."""
    return float(sum(p.numel() for p in module.parameters()))


def network(machine: Machine | None = None) -> nn.Module:
    """Two convs with norms inside '0', a third outside; with a machine a pass takes a millisecond a weight."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, 32, 3, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        ),
        nn.Conv2d(32, 4, 1),
    ).eval()
    if machine is not None:
        for module in model.modules():
            if not any(module.children()):
                machine.work(module, weights)
    return model
