"""Sites: a network as closed-form restorers see it, from where channels are made to those who read them.

A :class:`Site` is one channel group written as arithmetic: a producer (conv or linear), and for every layer that reads
its channels a :class:`Branch` with the chain of norms, activations, depthwise convs and poolings on the way. Restorers
read and write weights here *before* anything is sliced: all shapes are those of the dense network, and columns that
earlier sites removed are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

#: The layers that mix channels: convs of any dimension and linear layers.
Layer = _ConvNd | nn.Linear


@dataclass(frozen=True)
class Norm:
    """A batch norm on the way; channel ``index[i]`` of it normalises unit ``i`` of the site."""

    name: str
    module: _BatchNorm
    index: Tensor

    def parameters(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(weight, bias, mean, variance)``, each of shape ``(n,)`` in unit order, float64.

        Mean and variance of a norm without running statistics, which normalises every batch by itself, are 0 and 1.
        """
        bn, one = self.module, torch.ones(len(self.index), dtype=torch.float64)

        def read(tensor: Tensor | None, default: Tensor) -> Tensor:
            return default if tensor is None else tensor.detach().double()[self.index.to(tensor.device)]

        tensors = (bn.weight, bn.bias, bn.running_mean, bn.running_var)
        device = next((tensor.device for tensor in tensors if tensor is not None), one.device)
        one = one.to(device)
        weight, bias, mean, var = (read(tensor, one * start) for tensor, start in zip(tensors, (1, 0, 0, 1)))
        return weight, bias, mean, var


@dataclass(frozen=True)
class Activation:
    """An element-wise function on the way, e.g. ReLU; ``name`` is its kind in lower case ('relu', 'relu6', …)."""

    name: str
    function: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Depthwise:
    """A depthwise conv on the way; its channel ``index[i]`` reads and writes unit ``i`` of the site."""

    name: str
    module: _ConvNd
    index: Tensor


@dataclass(frozen=True)
class Pool:
    """A pooling (or other spatial resampling) on the way; ``kind`` is 'max', 'avg', 'adaptive_avg', …."""

    kind: str


@dataclass(frozen=True)
class Unknown:
    """Steps before ``reader`` that are no plain chain; only measuring at its input tells."""

    reader: str


Step = Norm | Activation | Depthwise | Pool | Unknown


@dataclass(frozen=True)
class Branch:
    """One reader of a site's channels.

    Attributes:
        name: Module path of the reading layer.
        module: The reading layer, an ordinary (ungrouped) ``Conv2d`` or ``Linear``.
        index: Shape ``(n, s)``; unit ``i`` occupies the input features ``index[i]`` of the layer (``s = 1`` for convs,
            the size of the flattened map for a linear layer behind a flatten).
        chain: The steps between producer and reader, in forward order.
        next_norm: The batch norm that follows the reader directly, if there is one.
        share: Share of the reader's output in the variance of the sum that it is added to (1: it is not added).
    """

    name: str
    module: Layer
    index: Tensor
    chain: tuple[Step, ...]
    next_norm: _BatchNorm | None = None
    next_norm_name: str | None = None
    share: float = 1.0

    def read_weight(self) -> Tensor:
        """The reader's weight in unit order, float64, shape ``(n, o, t)``: unit × output × taps (s·kh·kw)."""
        weight = self.module.weight.detach()
        out = weight.shape[0]
        taps = weight.reshape(out, weight.shape[1], -1)[:, self.index.to(weight.device)]  # (o, n, s, kh*kw)
        return taps.permute(1, 0, 2, 3).reshape(self.index.shape[0], out, -1).double()

    def write_weight(self, value: Tensor) -> None:
        """Put back what :meth:`read_weight` gave (same shape), in place and in the layer's own dtype."""
        weight = self.module.weight.data
        units, spread = self.index.shape
        taps = value.reshape(units, weight.shape[0], spread, -1).permute(1, 0, 2, 3)
        flat = weight.reshape(weight.shape[0], weight.shape[1], -1)
        flat[:, self.index.to(weight.device)] = taps.to(weight)
        weight.copy_(flat.reshape(weight.shape))


@dataclass(frozen=True)
class Site:
    """One channel group as arithmetic.

    Attributes:
        name: The group's name (its first producer's module path).
        width: Number of units ``n``.
        producer: The layer that makes the channels, ``None`` when several layers' outputs are added.
        producer_index: Shape ``(n,)``; output channel of the producer for each unit; empty without a producer.
        branches: Every reader of the channels; empty if some reader is no ordinary conv or linear layer.
        problem: Empty, or why the group is no plain chain from one producer to its readers; the branches' chains are
            then unknown, and only restorers that measure can repair it.
        norms: Every batch norm that loses channels with the group.
    """

    name: str
    width: int
    producer_name: str = ''
    producer: Layer | None = None
    producer_index: Tensor = field(default_factory=lambda: torch.arange(0))
    branches: tuple[Branch, ...] = ()
    problem: str = ''
    norms: tuple[Norm, ...] = ()
    producers: tuple[tuple[str, nn.Module, Tensor], ...] = field(default=())

    def producer_weight(self, with_bias: bool = False) -> Tensor:
        """The producer's filters as rows in unit order, float64, shape ``(n, c·kh·kw)``; bias appended on request."""
        index = self.producer_index.to(self.producer.weight.device)
        rows = self.producer.weight.detach().double().flatten(1)[index]
        if with_bias and self.producer.bias is not None:
            rows = torch.cat([rows, self.producer.bias.detach().double()[index, None]], dim=1)
        return rows
