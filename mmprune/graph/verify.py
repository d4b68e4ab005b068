"""The check that nothing gets past: a sliced network computes what the dense one does whose readers are masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from mmprune.errors import ConfigError
from mmprune.graph.cause import Cause, channels_axis
from mmprune.graph.group import ChannelGroup, Keeps, removed_channels
from mmprune.graph.randomness import same_numbers
from mmprune.graph.tracing import Example, Forward, flatten_tensors, map_tensors, tracing_mode
from mmprune.surgery.slicing import Undo, complement, slice_channels

#: Largest allowed difference, relative to the largest output: float32 sums in another order, nothing else.
TOLERANCE = 1e-4

#: Differences beyond this are never rounding.
ROUNDING = 0.1


def slice_groups(model: nn.Module, groups: Sequence[ChannelGroup], keeps: Keeps) -> Undo:
    """Remove everything but the kept units of the named groups, in place; the cut can be taken back or made final."""
    return slice_channels(model, *removed_channels(groups, keeps))


@contextmanager
def masked_readers(groups: Sequence[ChannelGroup], keeps: Keeps) -> Iterator[None]:
    """The dense network whose readers see zeros for the channels they are going to lose.

    What lies between producers and readers may make anything of zero: it is not asked.
    """
    _, inputs = removed_channels(groups, keeps)
    with ExitStack() as hooks:
        for module, removed in inputs.items():
            hook = module.register_forward_pre_hook(partial(_hide, removed), with_kwargs=True)
            hooks.callback(hook.remove)
        yield


def _hide(removed: Tensor, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Zero input channels of a layer, however its input is handed over."""
    x = args[0] if args else kwargs['input']
    x = x.index_fill(channels_axis(module, x), removed.to(x.device), 0)
    return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, 'input': x})


@contextmanager
def prints_of_readers(groups: Sequence[ChannelGroup], keeps: Keeps, is_sliced: bool) -> Iterator[list[Tensor]]:
    """The channels that stay, as readers see them, call by call: mean and mean square of every channel.

    Outputs alone would forgive a mistake that later layers weaken below rounding.
    """
    _, inputs = removed_channels(groups, keeps)
    prints: list[Tensor] = []

    def note(removed: Tensor, module: nn.Module, args: tuple, kwargs: dict) -> None:
        x = (args[0] if args else kwargs['input']).detach()
        axis = channels_axis(module, x)
        if not is_sliced:
            x = x.index_select(axis, complement(removed, x.shape[axis]).to(x.device))
        rows = x.movedim(axis, 0).flatten(1).double()
        prints.append(torch.stack([rows.mean(dim=1), rows.square().mean(dim=1).sqrt()]))

    with ExitStack() as hooks:
        for module, removed in inputs.items():
            hooks.callback(module.register_forward_pre_hook(partial(note, removed), with_kwargs=True).remove)
        yield prints


@contextmanager
def double_precision(model: nn.Module) -> Iterator[None]:
    """All real numbers of a network in float64, as stand-ins for its own tensors, which come back on exit."""
    stand_ins: dict[Tensor, Tensor] = {}  # what is shared stays shared
    kept = []
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            kept.append((held, dict(held)))
            for name, tensor in held.items():
                if tensor is not None and tensor.is_floating_point():
                    held[name] = stand_ins.setdefault(tensor, _doubled(tensor))
    try:
        yield
    finally:
        for held, own in kept:
            held.clear()
            held.update(own)


def _doubled(tensor: Tensor) -> Tensor:
    value = tensor.detach().double()
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value


def run(model: nn.Module, forward: Forward, example: Example) -> list[Tensor]:
    """Outputs in eval mode without gradients, of the same random numbers every time."""
    with tracing_mode(model), torch.no_grad(), same_numbers():
        return [out.clone() for out in flatten_tensors(forward(example))]


def difference(expected: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """Largest absolute difference of two lists of outputs, relative to the largest expected value."""
    if [out.shape for out in expected] != [out.shape for out in got]:
        return float('inf')
    worst = 0.0
    for a, b in zip(expected, got):
        if not a.numel() or not (a.is_floating_point() or a.is_complex()):
            continue  # labels, masks and indices flip where rounding decides
        scale = a.abs().max().clamp_min(torch.finfo(a.abs().dtype).tiny)
        worst = max(worst, ((a - b).abs().max() / scale).item())
    return worst if worst == worst else float('inf')  # NaN is no agreement


def slicing_error(
    model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup], keeps: Keeps
) -> tuple[float, str]:
    """Slice, compare with the dense network whose readers are masked, take it back.

    A difference that goes away in double precision is rounding, which deep networks amplify, and no mistake.

    Returns:
        The relative difference (inf if the sliced network does not run), and what went wrong.
    """
    error, problem = _slicing_error(model, forward, example, groups, keeps)
    if TOLERANCE < error < ROUNDING:
        with double_precision(model), suppress(RuntimeError):  # some networks insist on float32
            exact = map_tensors(lambda x: x.double() if x.is_floating_point() else x, example)
            error, problem = min((error, problem), _slicing_error(model, forward, exact, groups, keeps))
    return error, problem


def _slicing_error(
    model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup], keeps: Keeps
) -> tuple[float, str]:
    with prints_of_readers(groups, keeps, is_sliced=False) as seen, masked_readers(groups, keeps):
        expected = run(model, forward, example)
    try:
        with prints_of_readers(groups, keeps, is_sliced=True) as sliced_seen:
            outputs = run_sliced(model, forward, example, groups, keeps)
        error = difference(expected + seen, outputs + sliced_seen)
    except Exception as failure:  # whatever a host's forward raises
        return float('inf'), f'it does not run ({failure})'.split('\n')[0]
    return error, '' if error <= TOLERANCE else f'outputs differ by {error:.1e}'


def run_sliced(
    model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup], keeps: Keeps
) -> list[Tensor]:
    """Outputs of the network cut for this run only."""
    undo = slice_groups(model, groups, keeps)
    try:
        return run(model, forward, example)
    finally:
        undo.take_back()


def _cause(
    model: nn.Module, forward: Forward, example: Example, group: ChannelGroup, keeps: Keeps, problem: str
) -> str:
    def dense() -> list[Tensor]:
        with masked_readers([group], keeps):
            return run(model, forward, example)

    def sliced() -> list[Tensor]:
        return run_sliced(model, forward, example, [group], keeps)

    return Cause(model, group, keeps[group.name], dense, sliced).reason(problem)


def refuse_wrong_groups(model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup]) -> None:
    """Give every group that the tracer got wrong a reason to stay whole.

    All groups are tried at once, with a third of their units gone at random; if that fails, half of them, and so on.
    """
    generator = torch.Generator().manual_seed(0)
    trial = {
        g.name: torch.randperm(g.width, generator=generator)[: max(1, g.width * 2 // 3)].sort().values
        for g in groups
        if g.prunable
    }

    def are_right(suspects: Sequence[ChannelGroup]) -> bool:
        error, problem = slicing_error(model, forward, example, suspects, trial)
        if error > TOLERANCE and len(suspects) == 1:
            suspects[0].reason = _cause(model, forward, example, suspects[0], trial, problem)
        elif error > TOLERANCE:
            middle = len(suspects) // 2
            are_right(suspects[:middle])
            are_right(suspects[middle:])
        return error <= TOLERANCE

    suspects = [group for group in groups if group.prunable]
    if not suspects or are_right(suspects):
        return
    good = [group for group in suspects if group.prunable]
    if not good:
        return
    error, problem = slicing_error(model, forward, example, good, trial)
    if error > TOLERANCE:
        raise ConfigError(
            'target: the channel groups of this network are right one by one, but not together '
            f'({problem}); leave some of them out by pruner.keep'
        )
