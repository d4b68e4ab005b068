"""DenseNets for small images: DenseNet-40 and DenseNet-BC with a small growth rate."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmprune.models.initialization import KAIMING_CONVS
from mmprune.registry import MODELS


class DenseLayer(nn.Module):
    """BN, ReLU and 3×3 conv (behind BN, ReLU and 1×1 conv with ``bottleneck``), concatenated with the input."""

    def __init__(self, in_channels: int, growth_rate: int, bottleneck: bool, prepend: bool) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the input.
            growth_rate: Channels added.
            bottleneck: Whether a 1×1 conv to ``4 * growth_rate`` channels comes first.
            prepend: Whether the new channels stand before the input's instead of behind them.
        """
        super().__init__()
        self.bottleneck, self.prepend = bottleneck, prepend
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        if bottleneck:
            self.conv1 = nn.Conv2d(in_channels, 4 * growth_rate, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(4 * growth_rate)
            self.relu2 = nn.ReLU()
            self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(in_channels, growth_rate, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, in_channels + growth_rate, H, W)."""
        out = self.conv1(self.relu1(self.bn1(x)))
        if self.bottleneck:
            out = self.conv2(self.relu2(self.bn2(out)))
        return torch.cat((out, x) if self.prepend else (x, out), dim=1)


class Transition(nn.Module):
    """BN, ReLU, 1×1 conv and 2×2 average pool."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / 2, W / 2)."""
        return self.pool(self.conv(self.relu(self.bn(x))))


@MODELS.register_module()
class CIFARDenseNet(BaseModule):
    """3×3 stem of ``2 * growth_rate`` channels without BN, dense blocks with transitions between, final BN and ReLU.

    The defaults are the DenseNet-40 of the redundancy graph (456 channels at 8²). RD_PRUNE's DenseNet-121 is
    ``blocks=(6, 12, 24, 16), bottleneck=True, reduction=0.5, prepend=True`` (384 channels at 4²). Use it with
    ``neck=dict(type='GlobalAveragePooling')``; :attr:`out_channels` is the head's ``in_channels``.
    :attr:`published_keys` reads both layouts: ``conv``/``conv1`` for the stem, ``denseS.B.bn``/``conv`` for layers
    without bottleneck, ``transS.…``, ``bn``, and ``fc`` or ``linear``.

    Example:
        >>> CIFARDenseNet()(torch.rand(1, 3, 32, 32))[0].shape
        torch.Size([1, 456, 8, 8])
    """

    published_keys = (
        (r'^module\.', ''),
        (r'^(dense\d\.\d+)\.(bn|conv)\.', r'\1.\g<2>1.'),
        (r'^conv1?\.', 'backbone.stem.'),
        (r'^((?:dense|trans)\d|bn)\.', r'backbone.\1.'),
        (r'^(?:fc|linear)\.', 'head.fc.'),
    )

    def __init__(
        self,
        blocks: Sequence[int] = (12, 12, 12),
        growth_rate: int = 12,
        bottleneck: bool = False,
        reduction: float = 1.0,
        prepend: bool = False,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = KAIMING_CONVS,
    ) -> None:
        """Build the network.

        Args:
            blocks: Layers of each dense block.
            growth_rate: Channels that each layer adds.
            bottleneck: Whether layers have a 1×1 conv to ``4 * growth_rate`` channels first.
            reduction: Channels behind a transition, as a share of those before it (rounded down).
            prepend: Whether a layer's channels are put before its input's; published weights need their own order.
            in_channels: Channels of the images.
            init_cfg: Initialisation as in mmengine. Defaults to Kaiming-normal convs (fan out).
        """
        super().__init__(init_cfg)
        if not 0 < reduction <= 1:
            raise ValueError(f'CIFARDenseNet: reduction={reduction} must lie in (0, 1]')
        width = 2 * growth_rate
        self.num_blocks = len(blocks)
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        for stage, num_layers in enumerate(blocks, start=1):
            layers = [
                DenseLayer(width + index * growth_rate, growth_rate, bottleneck, prepend)
                for index in range(num_layers)
            ]
            self.add_module(f'dense{stage}', nn.Sequential(*layers))
            width += num_layers * growth_rate
            if stage < self.num_blocks:
                self.add_module(f'trans{stage}', Transition(width, int(width * reduction)))
                width = int(width * reduction)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.out_channels = width

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last feature map (N, out_channels, H', W') of images (N, in_channels, H, W), in a tuple."""
        x = self.stem(x)
        for stage in range(1, self.num_blocks + 1):
            x = getattr(self, f'dense{stage}')(x)
            if stage < self.num_blocks:
                x = getattr(self, f'trans{stage}')(x)
        return (self.relu(self.bn(x)),)
