"""ResNets of ImageNet's width and depth with a stem for small images."""

from mmprune.models.cifar_resnet import CIFARResNet
from mmprune.models.residual_blocks import BasicBlock, BottleneckBlock
from mmprune.registry import MODELS


@MODELS.register_module()
class WideCIFARResNet(CIFARResNet):
    """3×3 stem of 64 channels and stride 1, four stages of 64 … 512 channels (times 4 from depth 50 on).

    With ``stem_pool=True`` it is the ResNet-18/34 of DFBF, which keeps ImageNet's 3×3 max-pool of stride 2 behind the
    stem; without, depth 50 is the ResNet-50 of LBYL and depth 18 that of RD_PRUNE. Heads have 512 or 2048
    ``in_channels``. :attr:`published_keys` reads ``layerS.B.…``, the zoo's ``backbone.…``/``classifier``, and LBYL's
    layout (``layerS.block_1.…`` counted from one, the shortcut ``layerS.downsample`` beside the blocks).

    Example:
        >>> model = WideCIFARResNet(50)
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 32, 32))]
        [(1, 2048, 4, 4)]
    """

    arch_settings = {
        18: (BasicBlock, (2, 2, 2, 2)),
        34: (BasicBlock, (3, 4, 6, 3)),
        50: (BottleneckBlock, (3, 4, 6, 3)),
        101: (BottleneckBlock, (3, 4, 23, 3)),
        152: (BottleneckBlock, (3, 8, 36, 3)),
    }

    published_keys = (
        (r'^(module\.)?layer(\d)\.downsample\.', r'\1layer\2.0.downsample.'),
        *((rf'^(module\.)?layer(\d)\.block_{index + 1}\.', rf'\1layer\2.{index}.') for index in range(6)),
        (r'^classifier\.(weight|bias)$', r'fc.\1'),
        *CIFARResNet.published_keys,
    )

    def __init__(self, depth: int, stem_pool: bool = False, **kwargs) -> None:
        """Build the network.

        Args:
            depth: 18, 34, 50, 101 or 152.
            stem_pool: Whether a 3×3 max-pool of stride 2 follows the stem.
            **kwargs: As in :class:`CIFARResNet`; ``shortcut`` defaults to 'conv1x1', ``base_channels`` to 64.
        """
        super().__init__(depth, stem_pool=stem_pool, **{'shortcut': 'conv1x1', 'base_channels': 64, **kwargs})
