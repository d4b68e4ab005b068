"""Scale of the batch norm behind the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmprune.criteria.base import Criterion
from mmprune.criteria.weight_criterion import Reduce, combine
from mmprune.registry import CRITERIA

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup


@CRITERIA.register_module()
class BNScale(Criterion):
    """Absolute batch-norm scale ``|γ|`` of every channel (network slimming, Liu et al., ICCV 2017)."""

    def __init__(self, signed: bool = False, reduce: Reduce = 'mean') -> None:
        """Configure the criterion.

        Args:
            signed: Score by ``γ`` itself, as DFBF's program does: the most negative scale goes first.
            reduce: How a group with several batch norms combines them: 'mean', 'sum', 'max' or 'first'.
        """
        self.signed, self.reduce = signed, reduce

    def scores(self, group: ChannelGroup) -> Tensor:
        """Importance of every unit (mean over its channels), float64, shape ``(n,)``."""
        scores = []
        for member in group.norms:
            if not isinstance(member.module, _BatchNorm) or member.module.weight is None:
                continue
            scale = member.module.weight.detach().double()
            if not scale.isfinite().all():
                raise ValueError(
                    f'load_from: the scales of {member.name} contain NaN or Inf; '
                    'check the checkpoint they were loaded from'
                )
            scale = scale[member.index.to(scale.device)]
            scores.append((scale if self.signed else scale.abs()).mean(dim=1))
        if not scores:
            raise ValueError(
                f'BNScale: no batch norm with a scale follows the channels of {group.name}; '
                'keep this layer (pruner.keep) or choose a weight criterion such as L2Norm'
            )
        return combine(scores, self.reduce)
