"""DFBF's fine-tuning loss as published, nothing saved: name rules, hooks on batch norms, a teacher with gradients.

The hooks keep references to the outputs of batch norms, and the addition and ReLU that follow work in place: what is
compared is the block's output. This only holds for networks whose additions and ReLUs are in-place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CRITERIA = {
    'l1': lambda s, t, beta: (s - t).abs().mean(),
    'mse': lambda s, t, beta: ((s - t) ** 2).mean(),
    'huber': lambda s, t, beta: torch.where(
        (s - t).abs() < beta, 0.5 * (s - t) ** 2, beta * ((s - t).abs() - 0.5 * beta)
    ).mean(),
    'smooth_l1': lambda s, t, beta: torch.where(
        (s - t).abs() < beta, 0.5 * (s - t) ** 2 / beta, (s - t).abs() - 0.5 * beta
    ).mean(),
}

WEIGHTS = {
    0: lambda k, n: 1,
    1: lambda k, n: k / n,
    2: lambda k, n: 1 + k / n,
    3: lambda k, n: 2 + k / n,
    4: lambda k, n: 1 + 2 * k / n,
    5: lambda k, n: 1 + 3 * k / n,
    6: lambda k, n: 1 + 4 * k / n,
    7: lambda k, n: 1 + 5 * k / n,
    8: lambda k, n: 1 + 6 * k / n,
    9: lambda k, n: 1 + 7 * k / n,
    10: lambda k, n: 1 + 8 * k / n,
    11: lambda k, n: 6 * k / n,
}


def literal_loss(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    norms: list[str],
    criterion: str = 'l1',
    beta: float = 0.06,
    method: int = 0,
) -> Tensor:
    """The sum over the named batch norms, in forward order."""
    features = {}
    for who, model in (('student', student), ('teacher', teacher)):
        features[who] = []
        hooks = [
            model.get_submodule(name).register_forward_hook(
                lambda module, args, output, kept=features[who]: kept.append(output)
            )
            for name in norms
        ]
        model(images)
        for hook in hooks:
            hook.remove()
    total = 0
    for k, (s, t) in enumerate(zip(features['student'], features['teacher']), 1):
        total = total + WEIGHTS[method](k, len(norms)) * CRITERIA[criterion](s, t, beta)
    return total
