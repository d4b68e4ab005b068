"""The interface of all allocators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from mmprune.distortion.cuts import Cut
from mmprune.graph.scope import Scope
from mmprune.images.source import ImageSource
from mmprune.measure.target import TimedTarget
from mmprune.options import Checked, Ratio, Says, build


@dataclass(frozen=True)
class Layer:
    """One thing to allocate for: a channel group (unit = channel) or a weight tensor (unit = weight).

    Attributes:
        name: Name of the group or layer.
        width: Number of units ``n``.
        shape: Shape of the (first) producer's weight.
        scores: Importance of every unit, shape ``(n,)``, or None when the allocator asked for none.
        params: Parameters that one unit accounts for.
        flops: Multiply-adds that one unit accounts for (0 when not measured).
        alive: Units that are not yet removed (weights: not masked); None means all of them. Where some are gone, they
            score lowest.
        curve: Measured rate-distortion curve, if there is one: kept counts and distortions, both of shape ``(k,)``.
    """

    name: str
    width: int
    shape: tuple[int, ...]
    scores: Tensor | None = None
    params: float = 1.0
    flops: float = 0.0
    alive: int = None  # type: ignore[assignment]  # filled in below: whoever reads it gets a number
    curve: tuple[Tensor, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.alive is None:
            object.__setattr__(self, 'alive', self.width)


#: A target as users write it.
TargetOptions = Annotated[dict, Says('one quantity and the share of it that may remain, e.g. dict(flops=0.5)')]


class Allocator(Checked, ABC):
    """Says how many units every layer keeps."""

    #: Whether :meth:`keep_counts` reads ``Layer.scores``.
    needs_scores = False
    #: Whether :meth:`keep_counts` reads ``Layer.flops``.
    needs_flops = False
    #: What ``ratio`` is a share of: 'unit', 'params' or 'flops'.
    counts = 'unit'

    def __init__(self, ratio: Ratio | None = None, target: TargetOptions | None = None) -> None:
        """Configure the allocation.

        Args:
            ratio: Share of the units to remove, in [0, 1).
            target: Instead of ``ratio``: ``dict(flops=0.5)``, ``dict(params=0.5)`` or ``dict(latency=0.6)``, the share
                that may remain; the pruner then searches the ratio that meets it. Latency is measured; beside it may
                stand how: ``shape`` (N, C, H, W), ``threads`` and ``runs``.
        """
        if (ratio is None) == (target is None):
            raise ValueError(
                'give either `ratio` (share removed, in [0, 1)) or `target` '
                f'(e.g. dict(flops=0.5)), got ratio={ratio} and target={target}'
            )
        self.ratio = ratio
        self.budget = None if target is None else build(TimedTarget, target, 'target')

    def prepare(
        self, layers: Sequence[Layer], cuts: Sequence[Cut], scope: Scope, images: ImageSource | None
    ) -> tuple[list[Layer], str]:
        """Measure whatever :meth:`keep_counts` reads beyond what the pruner knows; most allocators need nothing.

        Args:
            layers: What will be allocated for, in forward order.
            cuts: Their units, ranked, in the same order; empty where nothing is scored yet.
            scope: The network.
            images: Batches of normalised images of shape (N, C, H, W), when there are any.

        Returns:
            The layers with what was measured filled in, and a note for the report.
        """
        return list(layers), ''

    @abstractmethod
    def keep_counts(self, layers: Sequence[Layer], ratio: float) -> list[int]:
        """Number of units that each layer keeps (before rounding and minimum widths).

        Args:
            layers: What to allocate for, in forward order.
            ratio: Share of the units (those alive) to remove, in [0, 1).
        """


def check_ratio(ratio: float) -> None:
    """Refuse a share to remove that is not a number in [0, 1)."""
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio < 1:
        raise ValueError(f'ratio: the share of units to remove must be in [0, 1), got {ratio!r}')
