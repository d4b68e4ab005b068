"""Axes: which axis of a traced tensor holds the channels, and where a reshape puts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch_pruning as tp
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.dependency import Node

#: Longer ways to the layer that makes the channels are given up.
LONGEST = 200


@dataclass(frozen=True)
class Spread:
    """The place of channels among the features of a flattened map.

    Attributes:
        before: Product of the flattened axes before the channels'.
        channels: Size of the channels' axis.
        after: Product of the flattened axes behind it.
    """

    before: int
    channels: int
    after: int

    def features(self, channel: int) -> list[int]:
        """The features that a channel becomes."""
        step = self.channels * self.after
        first = channel * self.after
        return [b * step + first + k for b in range(self.before) for k in range(self.after)]


@dataclass(frozen=True)
class SpreadMapping:
    """A :class:`Spread` as Torch-Pruning maps indices: from channels to features, or back.

    Raises:
        IndexError: An index beyond the map; some other mapping on the way is wrong, and following it further would
            never end.
    """

    spread: Spread
    back: bool

    def __call__(self, indices: list) -> list:
        """The indices on the other side, each with its root."""
        features = self.spread.before * self.spread.channels * self.spread.after
        limit = features if self.back else self.spread.channels
        if any(i.idx >= limit for i in indices):
            raise IndexError(f'an index beyond {limit} channels')
        if self.back:
            found = {(i.idx // self.spread.after % self.spread.channels, i.root_idx): i for i in indices}
            return [type(i)(idx=channel, root_idx=root) for (channel, root), i in found.items()]
        return [type(i)(idx=feature, root_idx=i.root_idx) for i in indices for feature in self.spread.features(i.idx)]


@dataclass(frozen=True)
class ShiftMapping:
    """Channels of a part among those of a concatenation, or back, as Torch-Pruning maps indices."""

    first: int
    last: int
    back: bool

    def __call__(self, indices: list) -> list:
        """The indices on the other side, each with its root; those of other parts are dropped."""
        if self.back:
            inside = [i for i in indices if self.first <= i.idx < self.last]
            return [type(i)(idx=i.idx - self.first, root_idx=i.root_idx) for i in inside]
        return [type(i)(idx=i.idx + self.first, root_idx=i.root_idx) for i in indices]


def map_by_shapes(graph: tp.DependencyGraph) -> None:
    """Map indices exactly where Torch-Pruning guesses from channel counts: through flattening and concatenation."""
    axes: dict[Node, int | None] = {}
    for node in graph.module2node.values():
        if node.type == tp.ops.OPTYPE.RESHAPE:
            _map_flattened(node, axes)
        elif node.type == tp.ops.OPTYPE.CONCAT and node.enable_index_mapping:
            _map_concatenated(node, axes)


def _map_flattened(node: Node, axes: dict[Node, int | None]) -> None:
    axis, sizes = _axis_before(node, axes), _sizes_before(node)
    merged = None if axis is None or not sizes else _merge(sizes, _sizes(node), axis)
    if merged is None or merged[1].before * merged[1].after == 1:
        return
    for other in node.inputs:
        for dependencies, target, back in ((node.dependencies, other, True), (other.dependencies, node, False)):
            for dependency in dependencies:
                if dependency.target == target:
                    dependency.index_mapping[0] = SpreadMapping(merged[1], back)


def _map_concatenated(node: Node, axes: dict[Node, int | None]) -> None:
    axis, whole = _axis_before(node, axes), _sizes(node)
    if axis is None or not whole or _wrapped(node.grad_fn._saved_dim, len(whole)) != axis:
        return
    parts = [_part_size(*function, axis) for function in node.grad_fn.next_functions]
    if parts.count(None) == 1:  # of a tensor without gradient autograd knows nothing
        parts[parts.index(None)] = whole[axis] - sum(size for size in parts if size is not None)
    if None in parts or sum(parts) != whole[axis]:
        return
    starts = [sum(parts[:k]) for k in range(len(parts))]
    spans = [
        (start, start + size)
        for (function, _), start, size in zip(node.grad_fn.next_functions, starts, parts)
        if function is not None and not hasattr(function, 'variable')
    ]
    if len(spans) != len(node.inputs):
        return
    mapped: set[int] = set()
    for other, span in zip(node.inputs, spans):
        for dependencies, target, back in ((node.dependencies, other, True), (other.dependencies, node, False)):
            dependency = next((d for d in dependencies if d.target == target and id(d) not in mapped), None)
            if dependency is not None:
                mapped.add(id(dependency))
                dependency.index_mapping[1] = ShiftMapping(*span, back)


def _part_size(function: object, output: int, axis: int) -> int | None:
    """Size of an axis of an autograd node's output; None where it is not known."""
    if hasattr(function, 'variable'):
        return function.variable.shape[axis]
    metadata = getattr(function, '_input_metadata', None)
    return metadata[output].shape[axis] if metadata else None


def channel_axis(node: Node, axes: dict[Node, int | None] | None = None, depth: int = 0) -> int | None:
    """The axis of a node's output that holds the channels; None where that is not known.

    Args:
        node: In a traced graph.
        axes: What is known already, by node.
        depth: Nodes walked through so far.
    """
    axes = {} if axes is None else axes
    if node not in axes:
        axes[node] = None  # a loop tells nothing
        axes[node] = _axis(node, axes, depth)
    return axes[node]


def _axis(node: Node, axes: dict[Node, int | None], depth: int) -> int | None:
    sizes = _sizes(node)
    if isinstance(node.module, _ConvNd):
        return len(sizes) - 1 - len(node.module.kernel_size) if sizes else None
    if isinstance(node.module, nn.Linear):
        return len(sizes) - 1 if sizes else None
    axis = _axis_before(node, axes, depth)
    if axis is None:
        return None
    kind, grad_fn = type(node.grad_fn).__name__.lower(), node.grad_fn
    before = _sizes_before(node)
    if kind.startswith('transpose') and before:
        swapped = [_wrapped(getattr(grad_fn, name), len(before)) for name in ('_saved_dim0', '_saved_dim1')]
        return swapped[1 - swapped.index(axis)] if axis in swapped else axis
    if kind.startswith('permute'):
        dims = [_wrapped(dim, len(sizes)) for dim in grad_fn._saved_dims]
        return dims.index(axis) if axis in dims else None
    if kind.startswith('unsqueeze'):
        return axis + (axis >= _wrapped(grad_fn._saved_dim, len(sizes)))
    if node.type == tp.ops.OPTYPE.RESHAPE or kind.startswith('squeeze'):
        merged = _merge(before, sizes, axis) if before else None
        return None if merged is None else merged[0]
    if kind.startswith(('mean', 'sum', 'amax', 'amin')) and hasattr(grad_fn, '_saved_dim') and before:
        dims = grad_fn._saved_dim
        gone = {_wrapped(dim, len(before)) for dim in (dims if isinstance(dims, (tuple, list)) else (dims,))}
        if axis in gone:
            return None
        return axis if len(sizes) == len(before) else axis - sum(dim < axis for dim in gone)
    return axis if not before or len(before) == len(sizes) else None


def _axis_before(node: Node, axes: dict[Node, int | None], depth: int = 0) -> int | None:
    """The channels' axis of the first input that knows one."""
    if depth > LONGEST:
        return None
    known = (channel_axis(other, axes, depth + 1) for other in node.inputs)
    return next((axis for axis in known if axis is not None), None)


def _sizes(node: Node) -> tuple[int, ...]:
    """Shape of a node's output, as autograd remembers it for the gradient."""
    metadata = getattr(node.grad_fn, '_input_metadata', None)
    return tuple(metadata[0].shape) if metadata else ()


def _sizes_before(node: Node) -> tuple[int, ...]:
    saved = getattr(node.grad_fn, '_saved_self_sym_sizes', None)
    return tuple(saved) if saved is not None else next((s for other in node.inputs if (s := _sizes(other))), ())


def _merge(before: Sequence[int], after: Sequence[int], axis: int) -> tuple[int, Spread] | None:
    """The axis into which a reshape puts an axis, and how the old one lies therein; None if it is cut up."""
    i = j = 0
    while i < len(before) and j < len(after):
        first, start, left, right = i, j, before[i], after[j]
        while left != right:
            if left < right and i + 1 < len(before):
                i += 1
                left *= before[i]
            elif right < left and j + 1 < len(after):
                j += 1
                right *= after[j]
            else:
                return None
        while i + 1 < len(before) and before[i + 1] == 1 and (j + 1 >= len(after) or after[j + 1] != 1):
            i += 1
        if first <= axis <= i:
            if j != start or (first == 0 and axis > 0 and before[0] > 1):
                return None
            spread = Spread(math.prod(before[first:axis]), before[axis], math.prod(before[axis + 1 : i + 1]))
            return j, spread
        i, j = i + 1, j + 1
    return None


def _wrapped(dim: int, count: int) -> int:
    """A dimension as autograd keeps it (−1 as an unsigned number), counted from the front."""
    return (dim - 2**64 if dim >= 2**63 else dim) % count
