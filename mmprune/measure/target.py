"""Targets: what is to remain of a network, as users write it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

from mmprune.options import Checked, Count, Ratio, Says, Share

#: (N, C, H, W).
InputShape = Annotated[tuple[Count, ...], Says('the shape of an input, e.g. (1, 3, 224, 224)')]


@dataclass(frozen=True)
class Target(Checked):
    """The share of one quantity that may remain: ``dict(flops=0.5)``; exactly one is given.

    Attributes:
        flops: Share of the multiply-adds, in (0, 1].
        params: Share of the parameters, in (0, 1].
    """

    flops: Share | None = None
    params: Share | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self._given()) != 1:
            raise ValueError(
                'give one quantity and its share, e.g. dict(flops=0.5); there are ' + ', '.join(self._quantities())
            )

    @property
    def quantity(self) -> str:
        """The quantity that is limited."""
        return self._given()[0]

    @property
    def share(self) -> float:
        """The share of it that may remain, in (0, 1]."""
        return float(getattr(self, self.quantity))

    def _given(self) -> list[str]:
        return [name for name in self._quantities() if getattr(self, name) is not None]

    def _quantities(self) -> list[str]:
        return [field.name for field in fields(self)]


@dataclass(frozen=True)
class TimedTarget(Target):
    """A target that may be of measured time: ``dict(latency=0.6, threads=1)``.

    Attributes:
        latency: Share of the time of a forward pass, in (0, 1].
        shape: Shape of the input that is timed; None: the example's. This and what follows stand beside ``latency``.
        threads: Threads that torch may use; None: as it is.
        runs: Counted runs of each network per measurement; None: as :class:`~mmprune.measure.latency.LatencyModel`
            has it.
    """

    latency: Share | None = None
    shape: InputShape | None = None
    threads: Count | None = None
    runs: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.measurement:
            if self.latency is None:
                raise ValueError(f'{name}: says how latency is measured, and the target is {self.quantity}')

    @property
    def measurement(self) -> dict[str, Any]:
        """Options of the measurement that are given."""
        told = {name: getattr(self, name) for name in ('shape', 'threads', 'runs')}
        return {name: value for name, value in told.items() if value is not None}

    def _quantities(self) -> list[str]:
        return ['flops', 'params', 'latency']


@dataclass(frozen=True)
class UnitTarget(Target):
    """A target that may be of units: ``dict(ratio=0.3)``.

    Attributes:
        ratio: Share of the units to remove, in [0, 1).
    """

    ratio: Ratio | None = None

    @property
    def quantity(self) -> str:
        """The quantity that is limited; 'units' for a ratio."""
        return 'units' if self.ratio is not None else super().quantity

    @property
    def share(self) -> float:
        """The share of it that may remain, in (0, 1]."""
        return super().share if self.ratio is None else 1 - self.ratio
