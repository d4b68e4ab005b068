"""Units of one layer that can be taken away bit by bit and put back: single weights, or channels of a group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mmprune.graph.group import Member
from mmprune.graph.site import Layer


class Cut(ABC):
    """The units of one layer, ranked once by their scores; the lowest go first, of equal ones the last.

    Attributes:
        name: Name of the layer or group.
        alive: Units that are not gone yet.
        order: All units by falling score, shape ``(n,)``; those that are gone come last.
        modules: Modules whose weights change.
    """

    name: str
    modules: tuple[Layer, ...]

    def __init__(self, name: str, scores: Tensor, alive: int | None = None) -> None:
        self.name = name
        self.order = torch.argsort(scores.flatten(), descending=True, stable=True)
        self.alive = len(self.order) if alive is None else alive
        self._left = self.alive
        self._backup: list[Tensor] = []

    def kept(self, count: int) -> Tensor:
        """Mask of the ``count`` units that stay, bool, shape ``(n,)``."""
        mask = torch.zeros_like(self.order, dtype=torch.bool)
        mask[self.order[:count]] = True
        return mask

    @torch.no_grad()
    def shrink(self, count: int) -> None:
        """Take away all but the ``count`` highest units; only what is new goes, so counts must fall."""
        if not self._backup:
            self._backup = [module.weight.detach().clone() for module in self.modules]
        if count > self._left:
            raise ValueError(f'{self.name}: {self._left} units are left, cannot go back to {count}')
        self._zero(self.order[count : self._left])
        self._left = count

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for module, weight in zip(self.modules, self._backup):
            module.weight.copy_(weight)
        self._backup, self._left = [], self.alive

    @abstractmethod
    def _zero(self, units: Tensor) -> None:
        """Silence these units."""


class WeightCut(Cut):
    """Single weights of one conv or linear layer."""

    def __init__(self, name: str, module: Layer, scores: Tensor, alive: int | None = None) -> None:
        super().__init__(name, scores, alive)
        self.modules = (module,)

    def _zero(self, units: Tensor) -> None:
        weight = self.modules[0].weight.data
        if weight.is_contiguous():
            weight.view(-1)[units] = 0
        else:
            weight.masked_fill_(
                torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
                .index_fill_(0, units, True)
                .view(weight.shape),
                0,
            )


class ChannelCut(Cut):
    """Units of a channel group: their columns in every layer that reads them."""

    def __init__(self, name: str, readers: Sequence[Member], scores: Tensor, alive: int | None = None) -> None:
        super().__init__(name, scores, alive)
        self._readers = tuple(readers)
        self.modules = tuple(cast(Layer, member.module) for member in readers)

    def _zero(self, units: Tensor) -> None:
        for member, module in zip(self._readers, self.modules):
            weight = module.weight.data
            channels = member.channels[torch.isin(member.units, units.to(member.units))].to(weight.device)
            groups = getattr(module, 'groups', 1)
            if getattr(module, 'transposed', False):
                weight[channels] = 0
            elif groups == 1:
                weight[:, channels] = 0
            else:
                blocks, width = weight.view(groups, -1, *weight.shape[1:]), weight.shape[1]
                blocks[channels // width, :, channels % width] = 0
