"""Channel groups of a network: who makes the channels, who reads them, and why some must stay.

The coupling itself comes from Torch-Pruning's ``DependencyGraph``. What is added here: probes that mark the channels
which leave the traced part (so that an interface is never cut by accident), bundles for grouped convs, names of the
host model, forward order, and a reason for every group that cannot be pruned.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import nn

from mmprune.errors import GraphError
from mmprune.graph.chain import find_site
from mmprune.graph.coupling import CarefulGraph, convert, unfollowed
from mmprune.graph.group import ChannelGroup
from mmprune.graph.patterns import check_patterns, describe, is_inside, matches
from mmprune.graph.randomness import same_numbers
from mmprune.graph.tracing import Example, Forward, TracedModel, tracing_mode
from mmprune.surgery.plain import PlainLayers

OUTPUT = 'is an output of the network'
INTERFACE = 'feeds what follows the target (prune_interface=False)'


def find_groups(
    model: nn.Module,
    forward: Forward,
    example: Example,
    targets: Sequence[str],
    prune_interface: bool = False,
    keep_patterns: Sequence[str] = (),
) -> list[ChannelGroup]:
    """All channel groups whose producers lie in the targets, in forward order.

    Args:
        model: The network that owns everything.
        forward: Runs the part of ``model`` to trace on ``example`` and returns tensors.
        example: One batch for ``forward``.
        targets: Module paths inside which channels may be removed ('' is everything).
        prune_interface: Whether groups that modules outside the targets read may be cut (as far as they were traced).
        keep_patterns: fnmatch patterns of module names whose outputs stay whole.

    Raises:
        ConfigError: A pattern of ``keep_patterns`` matches no module.
        GraphError: Torch-Pruning fails on the network as a whole.
    """
    names = {module: name for name, module in model.named_modules()}
    check_patterns(keep_patterns, [name for name in names.values() if name], targets)
    with tracing_mode(model), same_numbers():
        traced = TracedModel(model, forward, example)
        order = traced.execution_order()
        graph = CarefulGraph(model)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                graph.build_dependency(traced, (example,), verbose=False)
            except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError) as error:
                raise GraphError(
                    f'Torch-Pruning cannot follow the channels of {describe(targets)} ({error!r}); prune a part of it '
                    'that maps tensors to tensors, e.g. mmprune.prune(model.backbone, images, …), and save the whole'
                ) from error
            raw_groups = graph.all_channel_groups(exclude=set(traced.probes))
    probes = set(traced.probes)
    parameter_names = {parameter: name for name, parameter in model.named_parameters()}
    plain = PlainLayers(model)
    groups = [
        unfollowed(raw, names)
        if isinstance(raw, tuple)
        else convert(raw, names, parameter_names, probes, order, plain)
        for raw in raw_groups
    ]
    groups = [group for group in groups if any(is_inside(m.name, targets) for m in group.producers)]
    groups.sort(key=lambda group: min(order.get(m.module, len(order)) for m in group.producers))
    for group in groups:
        group.reason = group.reason or _reason_to_keep(group, targets, prune_interface, keep_patterns)
        if group.prunable:
            group.site = find_site(group, graph, names)
    graph.release()
    return groups


def _reason_to_keep(
    group: ChannelGroup, targets: Sequence[str], prune_interface: bool, keep_patterns: Sequence[str]
) -> str:
    for member in (*group.producers, *group.norms):
        if pattern := matches(member.name, keep_patterns, targets):
            return f'kept by pattern {pattern!r} ({member.name})'
    outside = [m.name for m in (*group.producers, *group.depthwise, *group.norms) if not is_inside(m.name, targets)]
    if outside:
        return f'coupled to {outside[0]}, which is outside the target'
    if group.is_interface:
        return OUTPUT if '' in targets or prune_interface else INTERFACE
    if not prune_interface and any(not is_inside(m.name, targets) for m in group.readers):
        return INTERFACE
    if not group.readers:
        return 'no conv or linear layer reads it'
    if group.width < 2:
        return 'has one unit only'
    return ''
