"""Number of edges of every layer: from a degree, a density, or a number of parameters in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from mmprune.expanders.base import edge_count
from mmprune.expanders.sparse_layer import SparseLayer


def edges_by_degree(layers: Iterable[SparseLayer], degree: float, side: str, multi: bool = False) -> dict[str, int]:
    """Edges per group of every layer by name; the vertices of ``side`` have ``degree`` edges."""
    return {layer.name: edge_count(layer.inputs, layer.outputs, degree, side, multi) for layer in layers}


def edges_by_density(layers: Iterable[SparseLayer], density: float) -> dict[str, int]:
    """The same share of all pairs in every layer, at least one edge."""
    return {layer.name: max(1, round(density * layer.pairs)) for layer in layers}


def edges_by_params(layers: Sequence[SparseLayer], params: int, side: str, fixed: Mapping[str, int]) -> dict[str, int]:
    """The largest degree, the same everywhere, whose weights fit; what is left goes to the layers edge by edge.

    Args:
        layers: Layers to fill; those in ``fixed`` have their edges already.
        params: Weights that all layers may have together.
        side: What the degree counts.
        fixed: Edges by layer name.

    Raises:
        ValueError: Not even one edge per layer fits.
    """
    free = [layer for layer in layers if layer.name not in fixed]

    def counts_at(degree: float) -> dict[str, int]:
        return {name: max(1, count) for name, count in edges_by_degree(free, degree, side).items()} | dict(fixed)

    def weights(counts: Mapping[str, int]) -> int:
        return sum(counts[layer.name] * layer.groups * layer.taps for layer in layers)

    least = weights(counts_at(0))
    if least > params:
        raise ValueError(f'{params:,} weights are fewer than the {least:,} of one edge per layer')
    most = max((layer.pairs for layer in free), default=0)
    counts = counts_at(_largest(lambda degree: weights(counts_at(degree)) <= params, most))
    left = params - weights(counts)
    while left:
        room = [layer for layer in free if counts[layer.name] < layer.pairs and layer.groups * layer.taps <= left]
        if not room:
            break
        for layer in room:
            price = layer.groups * layer.taps
            if price <= left:
                counts[layer.name] += 1
                left -= price
    return counts


def _largest(fits: Callable[[float], bool], upper: float) -> float:
    """The largest number in [0, upper] that fits, to 1e-6 (``fits(0)`` holds)."""
    if fits(upper):
        return upper
    lower = 0.0
    while upper - lower > 1e-6:
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if fits(middle) else (lower, middle)
    return lower
