"""The base of all criteria that look at filters only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from mmprune.criteria.base import Criterion

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup

#: How several members' scores become one.
Reduce = Literal['mean', 'sum', 'max', 'first']
#: Whether a filter's bias counts as one more weight.
BiasRule = Literal['linear', True, False]


class WeightCriterion(Criterion):
    """Scores every producer's filters on their own, then combines the producers of a coupled group."""

    def __init__(self, reduce: Reduce = 'mean', with_bias: BiasRule = 'linear') -> None:
        """Configure the criterion.

        Args:
            reduce: How a group with several producers (a residual sum) combines their scores: 'mean', 'sum', 'max', or
                'first' (only the first producer counts).
            with_bias: Whether a filter's bias counts as one more weight: always, never, or for linear layers only
                ('linear', as LBYL and NM do).
        """
        self.reduce, self.with_bias = reduce, with_bias

    def scores(self, group: ChannelGroup) -> Tensor:
        """Importance of every unit, float64, shape ``(n,)``."""
        return combine([self.filter_scores(rows) for rows in self.filters(group)], self.reduce)

    @abstractmethod
    def filter_scores(self, filters: Tensor) -> Tensor:
        """Importance of the filters of one producer.

        Args:
            filters: One row per unit, float64, shape ``(n, f)``.

        Returns:
            Shape ``(n,)``; the smallest go first.
        """

    def filters(self, group: ChannelGroup) -> list[Tensor]:
        """The rows to score for every producer (the first only with ``reduce='first'``), each of shape ``(n, f)``."""
        producers = group.producers[:1] if self.reduce == 'first' else group.producers
        filters = []
        for member, rows, bias in zip(producers, group.weights(), group.biases()):
            is_wanted = isinstance(member.module, nn.Linear) if self.with_bias == 'linear' else self.with_bias
            if is_wanted and bias is not None:
                rows = torch.cat([rows, bias.to(rows)], dim=1)
            if not rows.sum().isfinite():
                raise ValueError(
                    f'load_from: the weights of {member.name} contain NaN or Inf; '
                    'check the checkpoint they were loaded from'
                )
            filters.append(rows)
        return filters


def combine(scores: Sequence[Tensor], reduce: str) -> Tensor:
    """One score per unit from the scores of several members, each of shape ``(n,)``."""
    if len(scores) == 1 or reduce == 'first':
        return scores[0]
    stacked = torch.stack([s.to(scores[0].device) for s in scores])
    reductions: dict[str, Callable[..., Tensor]] = {'sum': torch.sum, 'mean': torch.mean, 'max': torch.amax}
    return reductions[reduce](stacked, dim=0)
