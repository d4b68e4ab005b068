"""The check that nothing gets past: a sliced network computes what the dense one does with those channels zeroed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmprune.errors import ConfigError
from mmprune.graph.group import ChannelGroup, Keeps, removed_channels
from mmprune.graph.tracing import Example, Forward, flatten_tensors, map_tensors, tracing_mode, watching
from mmprune.surgery.slicing import Undo, slice_channels, widths

#: Largest allowed difference, relative to the largest output: float32 sums in another order, nothing else.
TOLERANCE = 1e-4

#: Differences beyond this are never rounding.
ROUNDING = 0.1


def slice_groups(model: nn.Module, groups: Sequence[ChannelGroup], keeps: Keeps) -> Undo:
    """Remove everything but the kept units of the named groups, in place; returns what takes it back."""
    return slice_channels(model, *removed_channels(groups, keeps))


@contextmanager
def zeroed(groups: Sequence[ChannelGroup], keeps: Keeps) -> Iterator[None]:
    """The dense network with the removed channels zeroed behind every layer and norm that touches them."""
    outputs, _ = removed_channels(groups, keeps)
    masks: dict[nn.Module, Tensor] = {}
    for module, removed in outputs.items():
        if isinstance(module, nn.PReLU):
            continue
        masks[module] = torch.ones(widths(module)[0])
        masks[module][removed] = 0

    def zero(module: nn.Module, args: object, output: Tensor) -> Tensor:
        mask = masks[module].to(output)
        last = isinstance(module, nn.Linear) or (isinstance(module, _BatchNorm) and output.dim() == 2)
        return output * (mask if last else mask.reshape(-1, *[1] * (output.dim() - 2)))

    with watching(list(masks), zero):
        yield


@contextmanager
def double_precision(model: nn.Module) -> Iterator[None]:
    """All real numbers of a network in float64; put back exactly on exit, in the same parameters."""
    kinds = [
        (module, name, tensor.dtype)
        for module in model.modules()
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None and tensor.is_floating_point()
    ]
    try:
        for module, name, _ in kinds:
            getattr(module, name).data = getattr(module, name).data.double()
        yield
    finally:
        for module, name, kind in kinds:  # by name: slicing and taking it back replace buffers
            getattr(module, name).data = getattr(module, name).data.to(kind)


def run(model: nn.Module, forward: Forward, example: Example) -> list[Tensor]:
    """Outputs in eval mode without gradients."""
    with tracing_mode(model), torch.no_grad():
        return [out.clone() for out in flatten_tensors(forward(example))]


def difference(expected: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """Largest absolute difference of two lists of outputs, relative to the largest expected value."""
    if [out.shape for out in expected] != [out.shape for out in got]:
        return float('inf')
    worst = 0.0
    for a, b in zip(expected, got):
        scale = a.abs().max().clamp_min(torch.finfo(a.dtype).tiny)
        worst = max(worst, ((a - b).abs().max() / scale).item())
    return worst if worst == worst else float('inf')  # NaN is no agreement


def slicing_error(
    model: nn.Module, forward: Forward, example: Example, groups: Sequence[ChannelGroup], keeps: Keeps
) -> tuple[float, str]:
    """Slice, compare with the zeroed dense network, take it back.

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
    with zeroed(groups, keeps):
        expected = run(model, forward, example)
    undo = None
    try:
        undo = slice_groups(model, groups, keeps)
        error = difference(expected, run(model, forward, example))
        return error, '' if error <= TOLERANCE else f'outputs differ by {error:.1e}'
    except (RuntimeError, ValueError, IndexError, AssertionError) as failure:
        return float('inf'), f'it does not run ({failure})'.split('\n')[0]
    finally:
        if undo is not None:
            undo.take_back()


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
            suspects[0].reason = f'the traced coupling is wrong: with its channels cut, {problem}'
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
