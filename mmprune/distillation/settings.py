"""DFBF's fine-tuning: the pruned network learns to copy the dense one's features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from mmprune.distillation.losses import METHODS, Criterion, FeatureLoss, term_weights
from mmprune.distillation.part import Part
from mmprune.distillation.points import find_points
from mmprune.options import Bounds, Checked, Count, NonNegative, Positive
from mmprune.registry import DISTILLATIONS


@DISTILLATIONS.register_module()
class FeatureDistillation(Checked):
    """Settings of a run whose loss is Σ_k w_k · criterion(S_k, T_k) over supervision points k (DFBF, section 5).

    S_k and T_k are the outputs of the same module in the pruned and in the dense network. Only the pruned part of the
    model runs (its backbone); head and neck get no gradient and stay bit for bit what they were.
    """

    def __init__(
        self,
        criterion: Literal['l1', 'mse', 'huber', 'smooth_l1'] = 'l1',
        beta: Positive = 0.06,
        weights: Annotated[int, Bounds(at_least=0, at_most=max(METHODS))] = 0,
        points: str | Sequence[str] = 'auto',
        which: Literal['all', 'every_second', 'output'] = 'all',
        include_untouched: bool = False,
        bn: Literal['host', 'train', 'eval'] = 'host',
        neck: NonNegative = 0.0,
        images: Literal['synthetic', 'real', 'mixed'] = 'synthetic',
        num_real: Count | None = None,
    ) -> None:
        """Read the keys of ``pruning.distillation``.

        Args:
            criterion: 'l1', 'mse', 'huber' or 'smooth_l1', each the mean over elements.
            beta: Where huber and smooth-l1 become linear.
            weights: Method 0 … 11 of :func:`term_weights`.
            points: 'auto' (found from the pruned groups' surroundings), or fnmatch patterns of module paths.
            which: 'all' points, 'every_second' and the last, or only the 'output' of the backbone.
            include_untouched: Whether 'auto' also takes whole layers that no pruned one feeds.
            bn: Batch norms of the student: 'train', 'eval', or as the 'host' has them (``norm_eval``). What the
                host freezes stays frozen in any case.
            neck: Weight of an additional term, the mean distance of the neck's outputs; the neck itself stays as
                it is.
            images: What the network sees: 'synthetic' images, the config's 'real' training images, or both 'mixed'.
            num_real: Only so many of the real images, drawn with the run's seed.
        """
        if num_real is not None and images == 'synthetic':
            raise ValueError("num_real: there are no real images with images='synthetic'")
        if isinstance(points, str) and points != 'auto':
            points = [points]
        self.criterion, self.beta, self.weights, self.points = criterion, beta, weights, points
        self.which, self.include_untouched, self.bn, self.neck = which, include_untouched, bn, neck
        self.images, self.num_real = images, num_real

    def loss(self, student: nn.Module, teacher: nn.Module, targets: Sequence[str], example: Tensor) -> FeatureLoss:
        """The loss that a pruned network is trained on.

        Args:
            student: The pruned network (not wrapped).
            teacher: The dense network; it is frozen.
            targets: Module paths inside which was pruned.
            example: One batch of images (N, C, H, W).
        """
        pruned = Part.of(student, targets)
        points = find_points(
            pruned, Part.of(teacher, targets), example, self.points, self.which, self.include_untouched
        )
        running, copied = (Part.of(model, targets, neck=self.neck > 0) for model in (student, teacher))
        fixed = [student.get_submodule(name) for name in running.names[len(pruned.names) :]] if pruned.names else []
        return FeatureLoss(
            running,
            copied.freeze(),
            points,
            term_weights(self.weights, len(points)),
            self._criterion(),
            self.bn,
            self.neck,
            fixed,
        )

    def _criterion(self) -> Criterion:
        known: dict[str, Criterion] = {
            'l1': F.l1_loss,
            'mse': F.mse_loss,
            'huber': partial(F.huber_loss, delta=self.beta),
            'smooth_l1': partial(F.smooth_l1_loss, beta=self.beta),
        }
        return known[self.criterion]
