"""The three-stage ResNets of the CIFAR literature (ResNet-20 … ResNet-110)."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmprune.models.initialization import KAIMING_CONVS
from mmprune.models.residual_blocks import SHORTCUTS, BasicBlock, BottleneckBlock
from mmprune.registry import MODELS


@MODELS.register_module()
class CIFARResNet(BaseModule):
    """3×3 stem of 16 channels, three stages of 16, 32 and 64 channels, feature maps of 32², 16² and 8².

    Use it with ``neck=dict(type='GlobalAveragePooling')`` and a ``LinearClsHead`` with 64 ``in_channels``.
    :attr:`published_keys` reads the usual checkpoints: an optional ``module.``; ``conv1``/``bn1`` (or ``conv``/``bn``)
    for the stem; ``layerS.B.…`` with the shortcut under ``downsample`` or ``shortcut``; ``linear`` or ``fc``.

    Example:
        >>> model = CIFARResNet(20)
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 32, 32))]
        [(1, 64, 8, 8)]
    """

    arch_settings: dict[int, tuple[type[BasicBlock | BottleneckBlock], tuple[int, ...]]] = {
        depth: (BasicBlock, ((depth - 2) // 6,) * 3) for depth in (20, 32, 44, 56, 110)
    }

    published_keys: tuple[tuple[str, str], ...] = (
        (r'^module\.', ''),
        (r'^(conv|bn)\.', r'\g<1>1.'),
        (r'^(layer\d\.\d+)\.shortcut\.', r'\1.downsample.'),
        (r'^(conv1|bn1|layer\d)\.', r'backbone.\1.'),
        (r'^(?:fc|linear)\.', 'head.fc.'),
    )

    def __init__(
        self,
        depth: int,
        shortcut: str = 'A',
        pre_relu: bool = False,
        in_channels: int = 3,
        base_channels: int = 16,
        stem_pool: bool = False,
        out_indices: Sequence[int] | None = None,
        init_cfg: dict | list[dict] | None = KAIMING_CONVS,
    ) -> None:
        """Build the network.

        Args:
            depth: 20, 32, 44, 56 or 110.
            shortcut: Where the shape changes: 'A' (strided slice and zero channels), 'conv1x1' or 'conv3x3' (with BN).
            pre_relu: ReLU at the start of each block and behind the last one instead of after the additions. The
                network is the same function of its weights either way, and every output of the backbone is rectified;
                what changes is what a block returns (the sum before ReLU), which matters to whatever looks at single
                blocks.
            in_channels: Channels of the images.
            base_channels: Channels of the stem and of the first stage; each stage doubles them.
            stem_pool: Whether a 3×3 max-pool of stride 2 follows the stem.
            out_indices: Stages whose feature maps are returned. Defaults to the last one.
            init_cfg: Initialisation as in mmengine. Defaults to Kaiming-normal convs (fan out).
        """
        super().__init__(init_cfg)
        name = type(self).__name__
        if depth not in self.arch_settings:
            raise ValueError(f'{name}: depth={depth} is not one of {sorted(self.arch_settings)}')
        if shortcut not in SHORTCUTS:
            raise ValueError(f'{name}: shortcut={shortcut!r} is not one of {SHORTCUTS}')
        block, stage_blocks = self.arch_settings[depth]
        self.num_stages = len(stage_blocks)
        self.out_indices = (self.num_stages - 1,) if out_indices is None else tuple(out_indices)
        if not all(0 <= index < self.num_stages for index in self.out_indices):
            raise ValueError(f'{name}: out_indices={self.out_indices} must lie in 0 … {self.num_stages - 1}')

        self.conv1 = nn.Conv2d(in_channels, base_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(base_channels)
        self.relu = nn.Identity() if pre_relu else nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        width = base_channels
        for stage, num_blocks in enumerate(stage_blocks):
            blocks = []
            channels = base_channels * 2**stage
            for index in range(num_blocks):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(width, channels, stride, shortcut, pre_relu))
                width = channels * block.expansion
            self.add_module(f'layer{stage + 1}', nn.Sequential(*blocks))
        self.relu_out = nn.ReLU() if pre_relu else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the stages in ``out_indices``, for images of shape (N, in_channels, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        outs = []
        for stage in range(self.num_stages):
            x = getattr(self, f'layer{stage + 1}')(x)
            if stage in self.out_indices:
                outs.append(self.relu_out(x))
        return tuple(outs)
