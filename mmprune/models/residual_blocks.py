"""Residual blocks of the CIFAR ResNets, with the three shortcuts found in published checkpoints."""

import torch.nn.functional as F
from torch import Tensor, nn

SHORTCUTS = ('A', 'conv1x1', 'conv3x3')


class PadShortcut(nn.Module):
    """Option A of the ResNet paper: strided slice in space, the new channels are zeros on both sides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        """Choose the shape of the output.

        Args:
            in_channels: Channels C of the input, of shape (N, C, H, W).
            out_channels: Channels of the output, of shape (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
            stride: Step of the slice.
        """
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Slice and pad."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def build_shortcut(kind: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The shortcut of a block: identity where shapes agree, else one of :data:`SHORTCUTS`."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == 'A':
        return PadShortcut(in_channels, out_channels, stride)
    kernel = 3 if kind == 'conv3x3' else 1
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3×3 convs."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str, pre_relu: bool) -> None:
        """Build the layers.

        Args:
            in_channels: Channels of the input.
            channels: Channels of the block; the output has ``channels * expansion``.
            stride: Stride of the first conv and of the shortcut.
            shortcut: One of :data:`SHORTCUTS`, used where the shape changes.
            pre_relu: Whether the ReLU stands at the start of the block (the shortcut then sees the rectified input)
                instead of after the addition.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = build_shortcut(shortcut, in_channels, channels, stride)
        self.relu_in = nn.ReLU() if pre_relu else nn.Identity()
        self.relu_out = nn.Identity() if pre_relu else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        x = self.relu_in(x)
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu_out(out + self.downsample(x))


class BottleneckBlock(nn.Module):
    """1×1, 3×3 (with the stride) and 1×1 conv; arguments as in :class:`BasicBlock`."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: str, pre_relu: bool) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = build_shortcut(shortcut, in_channels, out_channels, stride)
        self.relu_in = nn.ReLU() if pre_relu else nn.Identity()
        self.relu_out = nn.Identity() if pre_relu else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, 4 · channels, H / stride, W / stride)."""
        x = self.relu_in(x)
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu_out(out + self.downsample(x))
