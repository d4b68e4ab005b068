"""VGG with batch norm as a detector's backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmprune.models.cifar_vgg import CIFARVGG
from mmprune.registry import MODELS


@MODELS.register_module()
class VGGBN(CIFARVGG):
    """VGG-16 or VGG-19 with batch norm that gives the maps of four stages to an FPN (128, 256, 512, 512 channels).

    The maps have strides 4, 8, 16 and 16: every stage ends with its max-pool but the last one, whose pool is left out
    (DFBF). ``features`` is numbered as in torchvision, whose weights load as they are:
    ``init_cfg=dict(type='Pretrained', checkpoint='torchvision://vgg16_bn')``.

    Example:
        >>> model = VGGBN(16)
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 64, 64))]
        [(1, 128, 16, 16), (1, 256, 8, 8), (1, 512, 4, 4), (1, 512, 4, 4)]
    """

    def __init__(
        self, depth: int = 16, out_indices: Sequence[int] = (1, 2, 3, 4), last_pool: str | None = None, **kwargs: Any
    ) -> None:
        """Build the network.

        Args:
            depth: 16 or 19.
            out_indices: Stages (0 to 4) whose maps are returned.
            last_pool: A fifth pooling, if any: 'max' or 'avg'.
            **kwargs: As in :class:`CIFARVGG`: ``bias``, ``widths``, ``in_channels``, ``init_cfg``.
        """
        super().__init__(depth, out_indices=out_indices, last_pool=last_pool, **kwargs)
