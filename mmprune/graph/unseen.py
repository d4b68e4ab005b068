"""Layers that a pass in eval mode does not see: they that run in training mode only, in other calls, or never."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mmprune.graph.environment import protected
from mmprune.graph.group import ChannelGroup, Keeps, Member
from mmprune.graph.patterns import is_inside
from mmprune.graph.tracing import Example, Forward, flatten_tensors, tracing_mode, watching
from mmprune.graph.verify import slice_groups
from mmprune.surgery.slicing import widths

IDLE = 'does not run in a forward pass'
TRAINING = 'runs in training mode only'


@dataclass
class Pass:
    """One forward pass: the modules that ran, the positions of what they returned, and how it failed, if it did."""

    ran: set[nn.Module] = field(default_factory=set)
    positions: dict[nn.Module, int] = field(default_factory=dict)
    problem: str = ''
    place: str = ''


def keep_unseen(
    model: nn.Module,
    forward: Forward,
    example: Example,
    targets: Sequence[str],
    groups: Sequence[ChannelGroup],
    elsewhere: Sequence[str] = (),
) -> list[ChannelGroup]:
    """Keep whole what layers read that a trace in eval mode does not see.

    Groups without which a training-mode pass fails stay; so do those that have the width of a layer that runs in no
    pass at all: nobody can know what it reads.

    Args:
        model: The network.
        forward: Runs it (or the part of it that is looked at).
        example: One batch for ``forward``.
        targets: Module paths inside which channels may be removed.
        groups: The traced groups; those that must stay are given a reason.
        elsewhere: Children of the model that ``forward`` leaves out, and that see nothing but what it returns.

    Returns:
        One group, with the reason, for each layer inside the targets that does not run in eval mode.
    """
    names = {module: name for name, module in model.named_modules()}
    seen = forward_pass(model, forward, example, training=False)
    trained = forward_pass(model, forward, example)
    if not trained.problem:
        only = {names[module] for module in trained.ran - seen.ran}
        _sift(model, forward, example, [group for group in groups if group.prunable], only)
    ran = seen.ran | (trained.ran if not trained.problem else set())
    listed: list[ChannelGroup] = []
    for module, name in names.items():
        if module in seen.ran or name.split('.')[0] in elsewhere or not _has_width(module):
            continue
        if module not in ran and not _is_fed_by_its_sequence(module, model, ran):
            for group in groups:
                if group.prunable and _may_feed(group, module, groups, seen):
                    group.reason = f'may feed {name}, which {IDLE}; remove that if it is not needed'
        if isinstance(module, (_ConvNd, nn.Linear)) and is_inside(name, targets):
            listed.append(_whole(name, module, TRAINING if module in ran else IDLE))
    known = {member.module for group in groups for member in group.producers}
    return [group for group in listed if group.producers[0].module not in known]


def training_problem(
    model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup], keeps: Keeps
) -> str:
    """The way a training-mode pass fails with channels cut that runs without; empty if it runs or never did."""
    return '' if forward_pass(model, forward, example).problem else _failure(model, forward, example, groups, keeps)[0]


def forward_pass(model: nn.Module, forward: Forward, example: Example, training: bool = True) -> Pass:
    """Run a network as in training, except that its norms use and keep their statistics.

    So a batch of one will do. Weights, statistics and random numbers are as before afterwards.
    """
    found, open_calls = Pass(), []

    def begin(name: str, module: nn.Module, args: object) -> None:
        open_calls.append(name)

    def end(name: str, module: nn.Module, args: object, output: object) -> None:
        if name in open_calls:
            del open_calls[open_calls.index(name) :]
        found.ran.add(module)
        for tensor in flatten_tensors(output)[:1]:
            found.positions[module] = tensor[0, 0].numel() if tensor.dim() > 1 and tensor.numel() else 1

    modules = dict(model.named_modules())
    with tracing_mode(model), protected(model), torch.no_grad(), ExitStack() as hooks:
        hooks.enter_context(watching(modules, begin, before=True))
        hooks.enter_context(watching(modules, end))
        for module in model.modules():
            module.training = training and not isinstance(module, _NormBase)
        try:
            forward(example)
        except Exception as error:  # whatever a network raises
            told = (str(error).strip().splitlines() or [''])[0]
            found.problem = f'{type(error).__name__}: {told:.160}'
            found.place = open_calls[-1] if open_calls else ''
    return found


def _sift(
    model: nn.Module, forward: Forward, example: Example, suspects: Sequence[ChannelGroup], only: Collection[str]
) -> None:
    """Give those groups a reason without which a training-mode pass fails: all at once, then halves."""
    trial = {group.name: torch.arange(max(1, group.width * 2 // 3)) for group in suspects}
    problem, place = _failure(model, forward, example, suspects, trial) if suspects else ('', '')
    if not problem:
        return
    if len(suspects) > 1:
        for half in (suspects[: len(suspects) // 2], suspects[len(suspects) // 2 :]):
            _sift(model, forward, example, half, only)
        suspects = [group for group in suspects if group.prunable]
        problem, place = _failure(model, forward, example, suspects, trial) if suspects else ('', '')
    for group in suspects if problem else ():
        needed = f'is needed whole in training mode, by {place or "the network"} ({problem})'
        group.reason = f'feeds {place}, which {TRAINING}' if place in only else needed


def _failure(
    model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup], keeps: Keeps
) -> tuple[str, str]:
    undo = slice_groups(model, groups, keeps)
    try:
        found = forward_pass(model, forward, example)
        return found.problem, found.place
    finally:
        undo.take_back()


def _has_width(module: nn.Module) -> bool:
    return isinstance(module, (_ConvNd, nn.Linear, _NormBase)) or (
        isinstance(module, nn.PReLU) and module.num_parameters > 1
    )


def _is_fed_by_its_sequence(module: nn.Module, model: nn.Module, ran: set[nn.Module]) -> bool:
    """A layer of an ``nn.Sequential`` behind another layer that has widths: it reads that one."""
    for parent in model.modules():
        if isinstance(parent, nn.Sequential) and not any(part in ran for part in parent.modules()):
            layers = [layer for layer in parent.modules() if _has_width(layer)]
            if module in layers[1:]:
                return all(isinstance(part, nn.Sequential) or not list(part.children()) for part in parent.modules())
    return False


def _may_feed(group: ChannelGroup, module: nn.Module, groups: Sequence[ChannelGroup], seen: Pass) -> bool:
    """A group of which a tensor of a layer's input width can be made: alone, flattened, or joined with another."""
    wanted = widths(module)[1]
    alone, flat = _made(group), isinstance(module, nn.Linear)
    if wanted in alone:
        return True
    if flat and any(wanted % width == 0 and _is_map(wanted // width, group, seen) for width in alone):
        return True
    return any(wanted - width in _made(other) for other in groups if other is not group for width in alone)


def _made(group: ChannelGroup) -> set[int]:
    makers = {widths(member.module)[0] for member in (*group.producers, *group.depthwise, *group.norms)}
    return makers | {widths(member.module)[1] for member in group.readers if not isinstance(member.module, nn.Linear)}


def _is_map(positions: int, group: ChannelGroup, seen: Pass) -> bool:
    """A number of positions that a map of the group has, or may have behind a pooling to a square."""
    own = {seen.positions.get(member.module) for member in (*group.producers, *group.norms)}
    return positions in own or positions in {side * side for side in range(2, 8)}


def _whole(name: str, module: _ConvNd | nn.Linear, reason: str) -> ChannelGroup:
    channels = torch.arange(widths(module)[0])
    return ChannelGroup(name, len(channels), (Member(name, module, channels, channels),), reason=reason)
