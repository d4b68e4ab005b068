"""Agreement of the hashes of every two channels, summed over images without storing a single map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmprune.criteria.redundancy.hash import hash_signs, is_informative
from mmprune.graph.tracing import Forward, watching


class HashAgreement:
    """Agreement of the hashes of ``n`` units; the state is one ``(n, n)`` matrix of whole numbers, exact in any order.

    Attributes:
        problem: Why the maps seen so far cannot be compared, or empty.
    """

    def __init__(self, width: int, hash_size: int = 8, dc: bool = True) -> None:
        """An empty sum.

        Args:
            width: Number of units.
            hash_size: Frequencies per axis, see :func:`hash_signs`.
            dc: Whether the maps' means take part.
        """
        self.hash_size, self.dc, self.problem = hash_size, dc, ''
        self.gram = torch.zeros(width, width, dtype=torch.int32)
        self.bits = 0

    def update(self, maps: Tensor) -> None:
        """Take in maps of shape ``(N, n, s, H, W)``: ``s`` channels make one unit."""
        height, width = maps.shape[-2:]
        if not is_informative(height, width, self.hash_size, self.dc):
            self.problem = f'maps of {height}×{width} pixels have no hash'
            return
        signs = hash_signs(maps, self.hash_size, self.dc).transpose(0, 1).flatten(1)
        for part in signs.float().split(2**24, dim=1):  # sums up to 2**24 are exact in float32
            self.gram = self.gram.to(part.device) + (part @ part.T).to(torch.int32)
        self.bits += signs.shape[1]

    def reduce(self) -> None:
        """Add up what all ranks saw (nothing happens without ``torch.distributed``)."""
        bits = torch.tensor(self.bits)
        all_reduce(self.gram)
        all_reduce(bits)
        self.bits = int(bits)
        if not self.bits and not self.problem:
            self.problem = 'no image came by'

    def similarity(self) -> Tensor:
        """Share of equal bits of every pair of units, float64, shape ``(n, n)``; about ½ for unrelated maps."""
        if not self.bits:
            raise ValueError(self.problem)
        agreements = (self.gram.cpu().double() + self.bits) / 2  # whole numbers: the quotient is correctly rounded
        return agreements / self.bits


def as_maps(output: object) -> Tensor | str:
    """A layer's output as maps (N, C, H, W), or why it is none."""
    if not isinstance(output, Tensor):
        return f'its output is a {type(output).__name__}'
    if output.dim() == 3:
        return 'tokens (or sequences) are no feature maps'
    if output.dim() == 2:
        return 'vectors are no feature maps'
    return output if output.dim() == 4 else f'outputs of {output.dim()} dimensions are no feature maps'


@torch.no_grad()
def collect(
    layers: Sequence[tuple[nn.Module, Tensor]],
    forward: Forward,
    images: Iterable[Tensor],
    hash_size: int = 8,
    dc: bool = True,
) -> list[HashAgreement]:
    """Watch layers while images pass, and add up over ranks.

    Args:
        layers: Modules with the channels of their units, shape ``(n, s)``.
        forward: Runs the network on one batch; the network is in eval mode.
        images: Batches of normalised images of shape (N, C, H, W).
        hash_size: Frequencies per axis of the hash.
        dc: Whether the maps' means take part.
    """
    agreements = [HashAgreement(len(index), hash_size, dc) for _, index in layers]

    in_order = [torch.equal(index, torch.arange(len(index))[:, None]) for _, index in layers]

    def observe(number: int, module: nn.Module, args: tuple, output: Any) -> None:
        maps = as_maps(output)
        if isinstance(maps, str):
            agreements[number].problem = maps
            return
        agreements[number].update(maps[:, :, None] if in_order[number] else maps[:, layers[number][1].to(maps.device)])

    with watching(dict(enumerate(module for module, _ in layers)), observe):
        for batch in images:
            forward(batch)
    for agreement in agreements:
        agreement.reduce()
    return agreements
