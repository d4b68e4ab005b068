"""Channel groups: channels of several modules that can only go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmprune.graph.site import Site

#: Kept units, sorted, by the name of their group.
Keeps = Mapping[str, Tensor]


def is_depthwise(module: nn.Module) -> bool:
    """A conv whose every output channel reads exactly the input channel of the same number."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels


@dataclass(frozen=True)
class Member:
    """A module's share in a group: its channel ``channels[j]`` belongs to unit ``units[j]``."""

    name: str
    module: nn.Module
    units: Tensor
    channels: Tensor

    @property
    def index(self) -> Tensor:
        """Shape (n, s): the channels of every unit; only for members in which all units have equally many."""
        order = torch.argsort(self.units, stable=True)
        units, counts = torch.unique(self.units[order], return_counts=True)
        if len(set(counts.tolist())) != 1 or not torch.equal(units, torch.arange(len(units))):
            raise ValueError(f'{self.name}: only some units of its group are here')
        return self.channels[order].reshape(len(units), -1)

    def removed_channels(self, keep: Tensor) -> Tensor:
        """The member's channels that go when only the units ``keep`` stay, sorted."""
        return self.channels[~torch.isin(self.units, keep)].sort().values


@dataclass
class ChannelGroup:
    """Channels of several modules that can only go together, unit by unit.

    Attributes:
        name: Module path of the first producer.
        width: Number of units (a unit is one channel, or a bundle of channels for grouped convs).
        producers: Convs and linear layers whose outputs these are.
        depthwise: Depthwise convs on the way; they lose inputs and outputs together.
        norms: Batch norms (and PReLUs) on the way.
        passages: Modules without weights that say how many channels pass them (RoI extractors).
        readers: Convs and linear layers whose inputs these are.
        reason: Empty if the group may be pruned, else why not.
        site: The group as arithmetic, for restorers and criteria that look at readers.
        is_interface: The channels leave the traced part of the network.
    """

    name: str
    width: int
    producers: tuple[Member, ...] = ()
    depthwise: tuple[Member, ...] = ()
    norms: tuple[Member, ...] = ()
    passages: tuple[Member, ...] = ()
    readers: tuple[Member, ...] = ()
    reason: str = ''
    site: Site | None = None
    is_interface: bool = False

    @property
    def prunable(self) -> bool:
        """Units may be removed: nothing speaks against it."""
        return not self.reason

    def members(self) -> tuple[Member, ...]:
        """All modules that lose something, producers first."""
        return (*self.producers, *self.depthwise, *self.norms, *self.passages, *self.readers)

    def weights(self) -> list[Tensor]:
        """The filters of every producer as rows in unit order: float64, shape (n, s·fan_in), without bias."""
        rows = []
        for member in self.producers:
            weight = member.module.weight.detach().double()
            if getattr(member.module, 'transposed', False):
                weight = weight.transpose(0, 1)
            rows.append(weight.flatten(1)[member.index.to(weight.device)].flatten(1))
        return rows

    def biases(self) -> list[Tensor | None]:
        """The biases of every producer in unit order: float64, shape (n, s), or None where a layer has none."""
        biases = [member.module.bias for member in self.producers]
        return [
            None if bias is None else bias.detach().double()[member.index.to(bias.device)]
            for bias, member in zip(biases, self.producers)
        ]


def removed_channels(groups: Sequence[ChannelGroup], keeps: Keeps) -> tuple[dict, dict]:
    """Channels that every module loses: ``({module: outputs}, {module: inputs})``, sorted, groups combined."""
    outputs: dict[nn.Module, list[Tensor]] = {}
    inputs: dict[nn.Module, list[Tensor]] = {}
    for group in groups:
        if group.name not in keeps:
            continue
        for member in (*group.producers, *group.depthwise, *group.norms, *group.passages):
            outputs.setdefault(member.module, []).append(member.removed_channels(keeps[group.name]))
        for member in group.readers:
            inputs.setdefault(member.module, []).append(member.removed_channels(keeps[group.name]))
    return tuple(
        {module: torch.cat(parts).unique() for module, parts in side.items()}  # type: ignore[return-value]
        for side in (outputs, inputs)
    )
