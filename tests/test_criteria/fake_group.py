"""A channel group by hand: what criteria read of ``mmprune.graph.group.ChannelGroup``, without tracing a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class FakeMember:
    name: str
    module: nn.Module
    index: Tensor


@dataclass
class FakeGroup:
    name: str
    width: int
    producers: tuple[FakeMember, ...]
    norms: tuple[FakeMember, ...] = ()

    def weights(self) -> list[Tensor]:
        return [m.module.weight.detach().double().flatten(1)[m.index].flatten(1) for m in self.producers]

    def biases(self) -> list[Tensor | None]:
        biases = [m.module.bias for m in self.producers]
        return [None if b is None else b.detach().double()[m.index] for b, m in zip(biases, self.producers)]


def make_group(
    *modules: nn.Module, norms: tuple[nn.Module, ...] = (), per_unit: int = 1, name: str = 'conv'
) -> FakeGroup:
    width = modules[0].weight.shape[0] // per_unit
    index = torch.arange(width * per_unit).reshape(width, per_unit)
    producers = tuple(FakeMember(f'{name}.{i}', module, index) for i, module in enumerate(modules))
    return FakeGroup(name, width, producers, tuple(FakeMember('bn', norm, index) for norm in norms))


def permute(group: FakeGroup, order: Tensor) -> FakeGroup:
    """The same group with its units renumbered: unit ``i`` is the old ``order[i]``."""
    producers = tuple(FakeMember(m.name, m.module, m.index[order]) for m in group.producers)
    norms = tuple(FakeMember(m.name, m.module, m.index[order]) for m in group.norms)
    return FakeGroup(group.name, group.width, producers, norms)
