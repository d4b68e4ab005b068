"""The interface of all pruners: look first, cut later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from mmprune.allocators.budget import Budget
from mmprune.graph.scope import Scope
from mmprune.images.source import ImageSource
from mmprune.options import Checked
from mmprune.report.report import LayerRow
from mmprune.restorers.base import Restorer

Images = ImageSource | None


@dataclass
class Plan(ABC):
    """Removals that a pruner has decided on; nothing has changed yet.

    Attributes:
        rows: One row per group or layer, for reports.
        scope: The network, and where it is pruned.
        warnings: Sentences that a user should read before going on.
        note: How it was decided, where that is worth a remark in reports (e.g. which data was used).
        budget: What was asked for and what the plan reaches, where a budget was given.
    """

    rows: list[LayerRow]
    scope: Scope
    warnings: list[str] = field(default_factory=list, kw_only=True)
    note: str = field(default='', kw_only=True)
    budget: Budget | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.warnings += [] if self.budget is None else self.budget.warnings

    @abstractmethod
    @contextmanager
    def trial(self) -> Iterator[None]:
        """The network cut but not repaired, for as long as the context lasts."""

    def written(self) -> list[Tensor]:
        """The parameters into which :meth:`apply` writes without a restorer; it replaces the others, if any."""
        return []

    @abstractmethod
    def apply(self, restorer: Restorer | None = None, images: Images = None) -> None:
        """Cut for good, repaired by ``restorer``, and note in the model what was kept."""


class Pruner(Checked, ABC):
    """Decides what goes."""

    #: The repair of :func:`mmprune.prune` where none is named; None where there is nothing trained to repair.
    default_restorer: str | None = 'MomentRestoration'

    @abstractmethod
    def plan(
        self, scope: Scope, images: Images = None, fraction: float = 1.0, dense_widths: Mapping[str, int] | None = None
    ) -> Plan:
        """Score and allocate.

        Args:
            scope: The network and where to prune.
            images: For criteria that want them.
            fraction: Share of the full removal to do now, in (0, 1]; iterative schedules raise it step by step.
            dense_widths: Width of every group before the first step of a schedule; None at the first step.
        """
