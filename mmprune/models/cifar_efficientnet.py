"""EfficientNet-B0 for small images, without the 1×1 conv in front of the classifier."""

from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmprune.models.initialization import KAIMING_CONVS
from mmprune.registry import MODELS

#: Expansion, channels, blocks, kernel and stride of the first block, of every stage of EfficientNet-B0.
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
SWISH = {'type': 'Swish'}


class SqueezeExcitation(nn.Module):
    """Scales channels by what two 1×1 convs make of their means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        """Build the layers.

        Args:
            channels: Channels of the input.
            squeezed: Channels between the convs.
        """
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = nn.SiLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        return x * self.gate(self.expand(self.act(self.reduce(self.pool(x)))))


class MBConv(nn.Module):
    """1×1 expansion (unless it is 1), depthwise conv, squeeze-and-excitation, 1×1 projection; a sum if shapes fit."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int, drop: float
    ) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            expansion: Channels of the depthwise conv, as a multiple of the input's.
            kernel: Size of its kernel.
            stride: Its stride.
            drop: Probability that training skips the block of an image, where there is a sum.
        """
        super().__init__()
        inner, norm = expansion * in_channels, {'type': 'BN'}
        self.widen = (
            nn.Identity() if expansion == 1 else ConvModule(in_channels, inner, 1, norm_cfg=norm, act_cfg=SWISH)
        )
        self.depthwise = ConvModule(
            inner, inner, kernel, stride=stride, padding=kernel // 2, groups=inner, norm_cfg=norm, act_cfg=SWISH
        )
        self.se = SqueezeExcitation(inner, max(1, in_channels // 4))
        self.project = ConvModule(inner, out_channels, 1, norm_cfg=norm, act_cfg=None)
        self.drop_path = DropPath(drop)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        out = self.project(self.se(self.depthwise(self.widen(x))))
        return x + self.drop_path(out) if self.is_residual else out


@MODELS.register_module()
class CIFAREfficientNet(BaseModule):
    """RD_PRUNE's EfficientNet-B0 for 32² images: a 3×3 stem of stride 1, seven stages, 320 channels at 2².

    Use it with ``neck=dict(type='GlobalAveragePooling')``.

    Example:
        >>> CIFAREfficientNet()(torch.rand(1, 3, 32, 32))[0].shape
        torch.Size([1, 320, 2, 2])
    """

    out_channels = 320

    def __init__(
        self,
        dropout: float = 0.2,
        drop_path_rate: float = 0.2,
        in_channels: int = 3,
        init_cfg: dict | list[dict] | None = KAIMING_CONVS,
    ) -> None:
        """Build the network.

        Args:
            dropout: Probability of a channel of the last map to be zero in training. Behind the pooling this is the
                published dropout in front of the classifier.
            drop_path_rate: Probability of skipping the last block in training; it grows linearly with depth.
            in_channels: Channels of the images.
            init_cfg: Initialisation as in mmengine. Defaults to Kaiming-normal convs (fan out).
        """
        super().__init__(init_cfg)
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f'CIFAREfficientNet: drop_path_rate={drop_path_rate} must lie in [0, 1)')
        self.stem = ConvModule(in_channels, 32, 3, padding=1, norm_cfg={'type': 'BN'}, act_cfg=SWISH)
        blocks: list[nn.Module] = []
        width, total = 32, sum(stage[2] for stage in STAGES)
        for expansion, channels, count, kernel, stride in STAGES:
            for index in range(count):
                blocks.append(
                    MBConv(
                        width,
                        channels,
                        expansion,
                        kernel,
                        stride if index == 0 else 1,
                        drop_path_rate * len(blocks) / total,
                    )
                )
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The last feature map (N, 320, H / 16, W / 16) of images (N, in_channels, H, W), in a tuple."""
        return (self.dropout(self.blocks(self.stem(x))),)
