"""Convolutions that compute only the edges of their graph: for inference, where that is faster."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmprune.graph.scope import Scope
from mmprune.graph.tracing import Example, tracing_mode, watching
from mmprune.measure.stopwatch import elapsed_ms, in_turn
from mmprune.surgery.masking import masks, remove_masks

#: Counted runs of each of the two forms of a convolution.
RUNS = 5


class GatheredConv2d(nn.Module):
    """The same function as a sparse ``Conv2d``: one depthwise convolution per neighbour, summed up.

    Outputs are sorted by their number of inputs, so that round ``k`` computes only those that have more than ``k``.
    It takes as many rounds as the busiest output has inputs.
    """

    place: Tensor | None
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        """Sort the edges of a convolution into rounds.

        Args:
            conv: Ungrouped, padded with zeros; its weight is zero where its graph has no edge.
        """
        super().__init__()
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        self.out_channels = conv.out_channels
        weight = conv.weight.detach()
        links = (weight != 0).flatten(2).any(2)
        order = torch.argsort(links.sum(1), descending=True, stable=True)
        neighbours = [torch.nonzero(links[output])[:, 0] for output in order.tolist()]
        self.rounds = len(neighbours[0])
        for k in range(self.rounds):
            columns = torch.stack([inputs[k] for inputs in neighbours if len(inputs) > k])
            self.register_buffer(f'columns{k}', columns)
            self.register_buffer(f'weight{k}', weight[order[: len(columns)], columns].unsqueeze(1).contiguous())
        is_sorted = torch.equal(order, torch.arange(len(order), device=order.device))
        self.register_buffer('place', None if is_sorted else torch.argsort(order))
        self.register_buffer('bias', None if conv.bias is None else conv.bias.detach()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        """Images of shape (N, C, H, W), as the convolution would see them."""
        out = x
        for k in range(self.rounds):
            columns = getattr(self, f'columns{k}')
            count = len(columns)
            part = F.conv2d(
                x.index_select(1, columns),
                getattr(self, f'weight{k}'),
                None,
                self.stride,
                self.padding,
                self.dilation,
                count,
            )
            if k == 0:
                out = F.pad(part, (0, 0, 0, 0, 0, self.out_channels - count)) if count < self.out_channels else part
            else:
                out[:, :count] += part
        out = out if self.place is None else out.index_select(1, self.place)
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True)
class Gathering:
    """Outcome for one convolution; times of the example's batch, in ms, None where nothing was measured."""

    name: str
    rounds: int
    dense_ms: float | None = None
    gathered_ms: float | None = None
    replaced: bool = True


def gather_convs(model: nn.Module, example: Example, measure: bool = True) -> list[Gathering]:
    """Make masks permanent, and replace masked convolutions by gathered ones where these are faster, in place.

    Only for inference: the state dict is no longer the host's.

    Args:
        model: Has masks, e.g. of ``ExpanderPruner``.
        example: A batch of the size that will be run, on the device on which it will be.
        measure: Whether to time every layer both ways; otherwise all are replaced that can be.

    Returns:
        One entry per masked convolution that can be replaced, in order of registration.
    """
    scope, found = Scope.of(model, example), []
    inputs: dict[nn.Module, Tensor] = {}
    masked = {name: scope.model.get_submodule(name) for name in masks(scope.model)}
    convs = {name: conv for name, conv in masked.items() if isinstance(conv, nn.Conv2d) and _can_be_gathered(conv)}
    remove_masks(scope.model)

    def record(module: nn.Module, args: tuple) -> None:
        inputs.setdefault(module, args[0].detach())

    with tracing_mode(scope.model), torch.no_grad():
        with watching(convs.values(), record, before=True):
            scope.forward(scope.example)
        for name, conv in convs.items():
            gathered = GatheredConv2d(conv)
            entry = Gathering(name, gathered.rounds)
            if measure:
                dense_ms, gathered_ms = _median_ms(conv, gathered, inputs[conv])
                entry = Gathering(name, gathered.rounds, dense_ms, gathered_ms, gathered_ms < dense_ms)
            found.append(entry)
            if entry.replaced:
                parent, _, child = name.rpartition('.')
                setattr(scope.model.get_submodule(parent), child, gathered.train(conv.training))
    return found


def _can_be_gathered(conv: nn.Conv2d) -> bool:
    return conv.groups == 1 and conv.padding_mode == 'zeros' and bool(conv.weight.detach().any())


def _median_ms(dense: nn.Module, gathered: nn.Module, x: Tensor) -> tuple[float, float]:
    """Median times of both on the same input, in turn."""
    times = in_turn(
        {'dense': lambda: elapsed_ms(lambda: dense(x)), 'gathered': lambda: elapsed_ms(lambda: gathered(x))},
        RUNS,
        warmup=1,
    )
    return median(times['dense']), median(times['gathered'])
