"""Pruning schedules: at once, or in steps between epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from mmprune.options import Bounds, Checked, Count, NonNegativeCount

#: Share of the full removal that is reached when a share of the steps is done; 'exponential' needs `amount` for it.
SHAPES: dict[str, Callable[[float], float]] = {
    'one-shot': lambda t: 1.0,
    'linear': lambda t: t,
    'cubic': lambda t: 1 - (1 - t) ** 3,  # Zhu & Gupta 2017: fast while there is redundancy, slow at the end
}


@dataclass(frozen=True)
class Schedule(Checked):
    """Step ``i`` of ``steps`` comes before epoch ``begin + i·interval`` and has removed ``shape((i + 1) / steps)``.

    Attributes:
        type: The shape.
        steps: Number of steps.
        interval: Epochs between them.
        begin: Epoch of the first.
        amount: Only for 'exponential': share of what is left that each step removes, in (0, 1). The allocator's ratio
            should then be ``1 - (1 - amount) ** steps``.
        fresh_optimizer: Whether every step but the first starts with a new optimiser and learning-rate schedule.
    """

    type: Literal['one-shot', 'linear', 'cubic', 'exponential'] = 'one-shot'
    steps: Count = 1
    interval: Count = 1
    begin: NonNegativeCount = 0
    amount: Annotated[float, Bounds(above=0, below=1)] | None = None
    fresh_optimizer: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.type == 'exponential') != (self.amount is not None):
            raise ValueError(f"amount: a share in (0, 1) for type='exponential', and only for it, got {self.amount!r}")
        if self.type == 'one-shot' and self.steps != 1:
            raise ValueError(f"steps: 'one-shot' has one step, got {self.steps}")

    def fraction(self, step: int) -> float:
        """Share of the full removal that is reached with this step, in (0, 1]."""
        if self.amount is not None:  # 'exponential' (RD_PRUNE, LAMP): each step removes the same share of what is left
            return (1 - (1 - self.amount) ** (step + 1)) / (1 - (1 - self.amount) ** self.steps)
        return SHAPES[self.type]((step + 1) / self.steps)

    def step_at(self, epoch: int) -> int | None:
        """The step that is due before this epoch, or None."""
        step, rest = divmod(epoch - self.begin, self.interval)
        return step if rest == 0 and 0 <= step < self.steps else None
