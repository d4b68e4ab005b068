"""The loss of a distillation run: how far the student's features are from the teacher's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmprune.distillation.part import Part
from mmprune.distillation.points import Point
from mmprune.measure.layout import bears_channels_last, channels_last

Criterion = Callable[[Tensor, Tensor], Tensor]


class FeatureLoss:
    """Stands in for the ``loss`` method of an mm model; see :class:`FeatureDistillation`.

    A plain object, so that the model that carries it keeps its state-dict keys and never stores the teacher. Copies
    of such a model (EMA) share it: it belongs to the network that is trained.
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
        """See the class.

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
        self._channels_last = bears_channels_last(module for _, module in student.modules())

    def __deepcopy__(self, memo: dict) -> FeatureLoss:
        return self

    def __call__(self, inputs: Tensor, data_samples: object = None) -> dict[str, Tensor]:
        """The weighted terms.

        Args:
            inputs: Normalised images (N, C, H, W).
            data_samples: Ignored; labels take no part.

        Returns:
            ``loss_feat_1`` … ``loss_feat_N``, and ``loss_feat_neck``; mm models train on their sum.
        """
        for norm in self._norms:
            norm.training = self._train_norms
        if self._channels_last:
            inputs = channels_last(inputs)
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
    """Whether the host holds a norm fixed (``frozen_stages``)."""
    return norm.weight is not None and not norm.weight.requires_grad
