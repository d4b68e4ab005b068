"""A network made faster for as long as only its outputs matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mmprune.graph.tracing import Example, Forward, flatten_tensors, map_tensors, watching
from mmprune.measure.layout import alike

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: What glibc may be taught to keep, just below the 32 MiB from which on it does not learn.
KEPT_BYTES = (32 << 20) - (64 << 10)


@contextmanager
def faster_inference(model: nn.Module, forward: Forward, example: Example) -> Iterator[None]:
    """Fold batch norms into the convs before them, and let ReLUs work in place; on exit put all back bit by bit.

    What can be changed is read off a forward pass, not off names. What cannot be seen there (a function that takes
    the conv's output as well) shows in the outputs: a change that they show is taken back at once.

    Args:
        model: The network, in eval mode.
        forward: Runs it (or the part of it that counts) on a batch.
        example: A batch to try it on.
    """
    keep_freed_memory()
    with ExitStack() as kept:
        with torch.no_grad():
            pairs, outputs = _pairs(model, forward, example)
            relus = [module for module in model.modules() if type(module) is nn.ReLU and not module.inplace]
            for changes in ([_folded(*pair) for pair in pairs], [_in_place(relu) for relu in relus]):
                _try(changes, kept, forward, example, outputs)
        yield


def keep_freed_memory() -> None:
    """Let the C library keep what one forward pass frees for the next one.

    Otherwise it gives large blocks back, and the kernel clears fresh pages for every activation of every pass: up to
    a third of the time of a small network. glibc keeps twice the largest block that it ever saw freed, up to 64 MiB;
    elsewhere this does nothing.
    """
    torch.empty(KEPT_BYTES, dtype=torch.uint8)


def _pairs(
    model: nn.Module, forward: Forward, example: Example
) -> tuple[list[tuple[_ConvNd, _BatchNorm]], list[Tensor]]:
    """Convs and the batch norms that take their outputs, both called once; and the outputs of the whole."""
    made: dict[int, tuple[_ConvNd, Tensor]] = {}
    calls: Counter[nn.Module] = Counter()
    pairs: list[tuple[_ConvNd, _BatchNorm]] = []

    def note(module: nn.Module, args: tuple, output: Any) -> None:
        calls[module] += 1
        if isinstance(module, CONVS):
            made[id(output)] = module, output  # held, so that no other tensor can get its id
        elif isinstance(module, _BatchNorm) and args and id(args[0]) in made:
            pairs.append((made[id(args[0])][0], module))

    layers = [
        module
        for module in model.modules()
        if isinstance(module, (*CONVS, _BatchNorm)) and not isinstance(module, torch.jit.ScriptModule)
    ]
    with watching(layers, note):
        outputs = [tensor.clone() for tensor in flatten_tensors(forward(example))]
    return [
        (conv, norm)
        for conv, norm in pairs
        if calls[conv] == calls[norm] == 1
        and norm.running_mean is not None
        and conv._parameters.keys() >= {'weight', 'bias'}
    ], outputs


def _try(
    changes: Iterable[AbstractContextManager],
    kept: ExitStack,
    forward: Forward,
    example: Example,
    outputs: Sequence[Tensor],
) -> None:
    """Make all the changes, and keep them if nobody can see them."""
    with ExitStack() as made:
        given = map_tensors(torch.clone, example)
        try:
            for change in changes:
                made.enter_context(change)
            unseen = alike(outputs, flatten_tensors(forward(given))) and alike(
                flatten_tensors(example), flatten_tensors(given)
            )
        except RuntimeError:  # an expanded tensor cannot be written to, say
            unseen = False
        if unseen:
            kept.push(made.pop_all())


@contextmanager
def _folded(conv: _ConvNd, norm: _BatchNorm) -> Iterator[None]:
    weight, bias, forward = conv.weight.detach().clone(), conv.bias, norm.__dict__.get('forward')
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scaled, shift = fuse_conv_bn_weights(conv.weight, bias, mean, var, norm.eps, norm.weight, norm.bias)
    conv.weight.data.copy_(scaled)
    conv.bias, norm.__dict__['forward'] = shift, _identity
    try:
        yield
    finally:
        conv.weight.data.copy_(weight)
        conv.bias = bias
        norm.__dict__.pop('forward')
        if forward is not None:
            norm.__dict__['forward'] = forward


def _identity(x: Tensor) -> Tensor:
    return x


@contextmanager
def _in_place(relu: nn.ReLU) -> Iterator[None]:
    relu.inplace = True
    try:
        yield
    finally:
        relu.inplace = False
