"""From one layer's error to what the network loses by it."""

from __future__ import annotations

import torch
from torch import Tensor

#: A layer that is lost completely still costs something finite.
LARGEST_ERROR = 1 - 1e-3


def retention_costs(errors: Tensor) -> Tensor:
    """Costs that add up over layers, from errors that do not.

    Layers in a row each pass on a share ``1 − e`` of the signal, so the shares multiply and ``−log(1 − e)`` adds up.
    For small errors that is the error itself; a layer close to ruin costs far more. Without it a global allocation
    empties whole layers at half the FLOPs and beyond: their error cannot exceed 1, however little is left of them.

    Args:
        errors: Error of each elimination as a share of the signal, in order, non-negative, shape ``(n,)``.

    Returns:
        What each elimination costs, shape ``(n,)``; never falling.
    """
    total = errors.cummax(dim=0).values.cumsum(dim=0).clamp(max=LARGEST_ERROR)
    return torch.diff(-torch.log1p(-total), prepend=total.new_zeros(1)).cummax(dim=0).values
