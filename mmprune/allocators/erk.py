"""Erdős–Rényi-kernel densities."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmprune.allocators.base import Allocator, Layer, check_ratio
from mmprune.registry import ALLOCATORS


@ALLOCATORS.register_module()
class ERK(Allocator):
    """Survivors in proportion to ``out + in + kh + kw`` (Evci et al., ICML 2020), as RD_PRUNE and LAMP compute it.

    For channels the density of the layer's weights becomes the density of its channels.
    """

    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """Survivors per layer; layers that would need more than they have stay whole."""
        check_ratio(ratio)
        alive = [layer.alive for layer in layers]
        # sum(shape) per weight tensor; a channel stands for prod(shape) / width weights.
        wanted = [sum(layer.shape) * layer.width / math.prod(layer.shape) for layer in layers]
        dense: set[int] = set()
        while len(dense) < len(layers):
            rest = [i for i in range(len(layers)) if i not in dense]
            budget = max(0.0, (1 - ratio) * sum(alive) - sum(alive[i] for i in dense))
            scale = budget / sum(wanted[i] for i in rest)
            survivors = {i: round(scale * wanted[i]) for i in rest}
            fullest = max(rest, key=lambda i: survivors[i] / alive[i] if alive[i] else 0.0)
            if survivors[fullest] <= alive[fullest]:
                return [survivors.get(i, alive[i]) for i in range(len(layers))]
            dense.add(fullest)
        return alive
