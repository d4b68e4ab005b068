"""Channels without any effect, such as sparse graphs leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmprune.criteria.base import Criterion
from mmprune.graph.site import Activation, Branch, Depthwise, Layer, Norm
from mmprune.graph.tracing import Forward
from mmprune.images.source import ImageSource
from mmprune.registry import CRITERIA

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup, Member


@CRITERIA.register_module()
class DeadChannels(Criterion):
    """Selects what can go without changing the network's output (in eval mode), and nothing else.

    A channel is dead if no reader has a weight for it, or if its producer has none and what norms and activations
    make of the constant is zero (any other constant is felt, at the borders in particular). Dead channels make others
    dead: that is followed to the end. Needs no allocator; a group of dead channels keeps one.

    Example:
        >>> mmprune.prune(model, images, pruner=dict(type='ChannelPruner', criterion='DeadChannels'), restorer=None)
    """

    def __init__(self) -> None:
        self._alive: dict[str, Tensor] = {}

    def prepare(self, groups: Sequence[ChannelGroup], forward: Forward, images: ImageSource | None) -> None:
        """Find the dead units of all groups."""
        self._alive = {group.name: torch.ones(group.width, dtype=torch.bool) for group in groups}
        reads: dict[nn.Module, list[tuple[str, Member]]] = {}
        makes: dict[nn.Module, list[tuple[str, Member]]] = {}
        for group in groups:
            for sides, members in ((reads, group.readers), (makes, group.producers)):
                for member in members:
                    sides.setdefault(member.module, []).append((group.name, member))
        changed = True
        while changed:
            changed = False
            for group in groups:
                alive = self._alive[group.name]
                dead = alive & (self._is_unread(group, makes) | self._is_silent(group, reads))
                if dead.any():
                    self._alive[group.name], changed = alive & ~dead, True

    def scores(self, group: ChannelGroup) -> Tensor:
        """1 for units that matter, 0 for dead ones."""
        return self._alive[group.name].double()

    def select(self, group: ChannelGroup) -> Tensor:
        """The units that matter; one if none does."""
        keep = torch.nonzero(self._alive[group.name])[:, 0]
        return keep if len(keep) else torch.zeros(1, dtype=torch.long)

    def remark(self, group: ChannelGroup) -> str:
        """Reason for leaving a group whole."""
        return 'no channel is dead'

    def _is_unread(self, group: ChannelGroup, makes: dict) -> Tensor:
        """Units for which no reader has a weight in an output that matters."""
        read = torch.zeros(group.width, dtype=torch.bool)
        for member in group.readers:
            links = _links(member.module) & self._alive_channels(member.module, makes, 0)[:, None]
            if getattr(member.module, 'groups', 1) > 1:
                read[:] = True  # columns of a grouped conv belong to several units
            else:
                read[member.units[links.any(dim=0)[member.channels]]] = True
        return ~read

    def _is_silent(self, group: ChannelGroup, reads: dict) -> Tensor:
        """Units whose value is zero for every input."""
        site = group.site
        if site is None or site.problem or site.producer is None or not site.branches:
            return torch.zeros(group.width, dtype=torch.bool)
        links = _links(site.producer) & self._alive_channels(site.producer, reads, 1)[None, :]
        silent = ~links.any(dim=1)[site.producer_index]
        for branch in site.branches:
            silent &= _constant(site.producer, site.producer_index, branch) == 0
        return silent

    def _alive_channels(self, module: nn.Module, sides: dict, axis: int) -> Tensor:
        """Mask of the outputs (axis 0) or inputs (1) of a layer that matter, as far as its groups know."""
        alive = torch.ones(_links(module).shape[axis], dtype=torch.bool)
        for name, member in sides.get(module, ()):
            if getattr(module, 'groups', 1) == 1:
                alive[member.channels] &= self._alive[name][member.units]
        return alive


def _links(module: nn.Module) -> Tensor:
    """Bool, shape (outputs, inputs of a group): which channels a weight connects."""
    weight = module.get_parameter('weight').detach()
    links = (weight.reshape(*weight.shape[:2], -1) != 0).any(dim=2).cpu()
    return links.T if getattr(module, 'transposed', False) else links


def _constant(producer: Layer, index: Tensor, branch: Branch) -> Tensor:
    """Value at a reader of units that get no input, float64, shape ``(n,)``; NaN where that is not a constant."""
    value = torch.zeros(len(index), dtype=torch.float64)
    if producer.bias is not None:
        value = producer.bias.detach().double().cpu()[index]
    for step in branch.chain:
        if isinstance(step, Norm):
            weight, shift, mean, variance = (part.cpu() for part in step.parameters())
            if step.module.running_mean is None:
                mean = value  # of every batch: what is constant is taken off
            value = (value - mean) / (variance + step.module.eps).sqrt() * weight + shift
        elif isinstance(step, Activation):
            value = step.function(value)
        elif isinstance(step, Depthwise):
            bias = step.module.bias
            extra = torch.zeros_like(value) if bias is None else bias.detach().double().cpu()[step.index]
            value = torch.where(value == 0, value + extra, torch.nan)
    return value
