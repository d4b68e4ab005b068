"""A pruned network while it learns from the dense one: a model wrapper, as DistributedDataParallel is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmprune.distillation.losses import FeatureLoss
from mmprune.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class DistillationWrapper(nn.Module):
    """A host model that trains on the distance of its features to a teacher's, and is itself in everything else.

    Like every model wrapper of mmengine it holds the host as ``module``, and who wants the host (checkpoints, moving
    averages, other hooks) finds it there, with its own ``loss`` and state-dict keys; the teacher is in no state dict.
    mmengine takes off one wrapper and not two. So with several processes DDP goes inside, around what training runs,
    and ``module`` is still the host.

    Example:
        >>> loss = FeatureDistillation(weights=2).loss(student, teacher, ['backbone'], images)
        >>> runner.model = DistillationWrapper(student, loss)
    """

    def __init__(
        self, module: BaseModel, loss: FeatureLoss, parallel: Callable[[nn.Module], nn.Module] | None = None
    ) -> None:
        """Wrap a host.

        Args:
            module: The host model, not wrapped.
            loss: Compares it with its teacher.
            parallel: Wraps what training runs so that gradients are averaged over processes, e.g.
                ``MMDistributedDataParallel``; None for one process.
        """
        super().__init__()
        self.module, self.loss = module, loss
        training: Any = _Training(module, loss)
        if parallel is not None:
            training = parallel(training)
        # A bound method and no child, so that the host's parameters are in this module once.
        self._train_step: Callable[..., dict[str, Tensor]] = training.train_step

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = 'tensor') -> Any:
        """As the host's; with ``mode='loss'`` the terms of the distance."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        return self.module(inputs, data_samples, mode=mode)

    def train_step(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """One step of the optimiser on the distance; as in :class:`mmengine.model.BaseModel`."""
        return self._train_step(*args, **kwargs)

    def val_step(self, *args: Any, **kwargs: Any) -> list:
        """The host's predictions in validation."""
        return self.module.val_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> list:
        """The host's predictions in a test."""
        return self.module.test_step(*args, **kwargs)


class _Training(BaseModel):
    """Host and distance as one module, for training steps to run and DDP to synchronise."""

    def __init__(self, host: BaseModel, loss: FeatureLoss) -> None:
        super().__init__(data_preprocessor=host.data_preprocessor)
        self.host, self.loss = host, loss

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = 'loss') -> dict[str, Tensor]:
        """The terms of the distance; there is no other mode."""
        return self.loss(inputs, data_samples)

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum and log the terms as the host does."""
        return self.host.parse_losses(losses)
