"""Distance of the student's features to the teacher's, and the weights of the points where it is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmprune.distillation.part import Part
from mmprune.distillation.points import Point
from mmprune.measure.layout import Layout

Criterion = Callable[[Tensor, Tensor], Tensor]
#: Method → (a, b): the k-th of N points weighs a + b·k/N.
METHODS = {0: (1, 0), 1: (0, 1), 2: (1, 1), 3: (2, 1), **{4 + i: (1, 2 + i) for i in range(7)}, 11: (0, 6)}


class FeatureLoss:
    """Σ_k w_k · criterion(S_k, T_k) over supervision points k of a pruned network S and its dense teacher T.

    A plain object and no module: whoever holds it gets no state-dict keys, and never stores the teacher.
    """

    def __init__(
        self,
        student: Part,
        teacher: Part,
        points: Sequence[Point],
        weights: Sequence[float],
        criterion: Criterion,
        bn: str = 'host',
        neck: float = 0.0,
        fixed: Sequence[nn.Module] = (),
    ) -> None:
        """Bind the loss to its two networks.

        Args:
            student: The part of the pruned network that runs.
            teacher: The same part of the dense one, frozen.
            points: Where they are compared.
            weights: Weight of every point.
            criterion: Two features of equal shape to a scalar, mean over elements.
            bn: 'train' or 'eval' for the student's batch norms; 'host' leaves them as the host's ``train()`` does.
            neck: Weight of the mean over all outputs of the neck; 0 for none.
            fixed: Modules of the student that only pass gradients on: they run in eval mode and get none themselves.
        """
        self.student, self.teacher, self.criterion = student, teacher, criterion
        self.terms = {
            f'loss_feat_{k}': (point, weight) for k, (point, weight) in enumerate(zip(points, weights, strict=True), 1)
        }
        if neck:
            self.terms['loss_feat_neck'] = (Point('neck', every=True), neck)
        self._names = list(dict.fromkeys(point.name for point, _ in self.terms.values()))
        self._fixed = list(fixed)
        inside = {module for root in self._fixed for module in root.modules()}
        self._norms = (
            []
            if bn == 'host'
            else [
                module
                for _, module in student.modules()
                if isinstance(module, _BatchNorm) and module not in inside and not _is_frozen(module)
            ]
        )
        self._train_norms = bn == 'train'
        modules = [module for part in (student, teacher) for _, module in part.modules()]
        self._layout = Layout(modules, [student, teacher])

    def __call__(self, inputs: Tensor, data_samples: Sequence | None = None) -> dict[str, Tensor]:
        """The weighted terms.

        Args:
            inputs: Normalised images (N, C, H, W).
            data_samples: Ignored; labels take no part.

        Returns:
            ``loss_feat_1`` … ``loss_feat_N``, and ``loss_feat_neck``; mm models train on their sum.
        """
        for norm in self._norms:
            norm.training = self._train_norms
        inputs = cast(Tensor, self._layout(inputs))
        with torch.no_grad():
            wanted = dict(zip(self._names, self.teacher.outputs_of(self._names, inputs)))
        with self._held():
            given = dict(zip(self._names, self.student.outputs_of(self._names, inputs)))
        return {
            key: weight * self._distance(given[point.name], wanted[point.name], point.every)
            for key, (point, weight) in self.terms.items()
        }

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The fixed modules in eval mode, their parameters no part of the graph."""
        wanting = [p for module in self._fixed for p in module.parameters() if p.requires_grad]
        for module in self._fixed:
            module.eval()
        for parameter in wanting:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in wanting:
                parameter.requires_grad_(True)

    def _distance(self, given: Sequence[Tensor], wanted: Sequence[Tensor], every: bool) -> Tensor:
        if not every:
            given, wanted = given[-1:], wanted[-1:]
        distances = [self.criterion(*map(_single, (a, b))) for a, b in zip(given, wanted, strict=True)]
        return torch.stack(distances).mean() if len(distances) > 1 else distances[0]


def _single(feature: Tensor) -> Tensor:
    """Half precision (AMP) is too coarse for a mean over all elements."""
    return feature.float() if feature.dtype in (torch.float16, torch.bfloat16) else feature


def _is_frozen(norm: nn.Module) -> bool:
    """True for a norm that the host holds fixed (``frozen_stages``)."""
    return norm.weight is not None and not norm.weight.requires_grad


def term_weights(method: int, count: int) -> list[float]:
    """Weights of the points, in forward order.

    Args:
        method: 0 … 11; 0 weighs all points alike, the others favour late ones.
        count: Number of points N.

    Returns:
        N weights ``w_k = a + b·k/N``, k = 1 … N.

    Raises:
        ValueError: There is no such method.

    Example:
        >>> term_weights(2, 4)
        [1.25, 1.5, 1.75, 2.0]
    """
    if type(method) is not int or method not in METHODS:
        raise ValueError(f'weights: a method from 0 to {max(METHODS)}, got {method!r}')
    offset, slope = METHODS[method]
    return [offset + slope * k / count for k in range(1, count + 1)]
