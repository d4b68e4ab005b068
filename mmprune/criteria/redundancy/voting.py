"""The layers that speak for a group of channels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmprune.graph.group import ChannelGroup, Member


def voting_members(groups: Sequence[ChannelGroup], lead_only: bool) -> dict[str, list[Member]]:
    """The producers of each group that are asked.

    The lead of a residual stream is the conv that enters it from the earlier stage (stem or shortcut): the one whose
    own input is made first. Inputs of unknown groups come from outside, so they count as earliest.
    """
    if not lead_only:
        return {group.name: list(group.producers) for group in groups}
    made: dict[nn.Module, int] = {}
    for number, group in enumerate(groups):
        for member in group.readers:
            made.setdefault(member.module, number)
    return {group.name: [min(group.producers, key=lambda member: made.get(member.module, -1))] for group in groups}
