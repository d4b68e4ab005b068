"""Random scores, the baseline that every criterion has to beat."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmprune.criteria.weight_criterion import BiasRule, Reduce, WeightCriterion
from mmprune.registry import CRITERIA

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup


@CRITERIA.register_module()
class Random(WeightCriterion):
    """Uniform random scores, or one of LBYL's three deterministic "random" criteria.

    The default draws from a generator of its own for every group, seeded by ``seed`` and the group's name: the result
    does not depend on other groups, on the global random state, on the process or on the machine.
    """

    def __init__(
        self,
        seed: int = 0,
        variant: Literal['random_1', 'random_2', 'random_3'] | None = None,
        reduce: Reduce = 'mean',
        with_bias: BiasRule = 'linear',
    ) -> None:
        """Configure the criterion.

        Args:
            seed: Any integer; used by the default variant only.
            variant: 'random_1' keeps the filters whose sum of weights (float32) has the smallest last decimal digit,
                'random_2' the last filters, 'random_3' the first ones.
            reduce: See :class:`WeightCriterion`; used by 'random_1' only.
            with_bias: See :class:`WeightCriterion`; used by 'random_1' only.
        """
        super().__init__(reduce, with_bias)
        self.seed, self.variant = seed, variant

    def scores(self, group: ChannelGroup) -> Tensor:
        """Scores of every unit, float64, shape ``(n,)``."""
        order = torch.arange(group.width, dtype=torch.float64)
        if self.variant == 'random_1':
            return super().scores(group)
        if self.variant == 'random_2':
            return order
        if self.variant == 'random_3':
            return order.flip(0)
        digest = hashlib.sha256(f'{self.seed}/{group.name}'.encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], 'big'))
        return torch.rand(group.width, generator=generator, dtype=torch.float64)

    def filter_scores(self, filters: Tensor) -> Tensor:
        """Nine minus the last decimal digit of every filter's sum: shape ``(n, f)`` to ``(n,)``."""
        sums = filters.float().sum(dim=1).tolist()
        return torch.tensor([9.0 - int(str(s)[-1]) for s in sums], dtype=torch.float64)
