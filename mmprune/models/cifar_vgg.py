"""VGG-16 and VGG-19 with batch norm for small images."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmprune.models.initialization import KAIMING_CONVS
from mmprune.registry import MODELS


@MODELS.register_module()
class CIFARVGG(BaseModule):
    """3×3 convs, each with BN and ReLU, in five stages that end with a 2×2 pooling; 32² images become 1² maps.

    ``features`` is one flat ``Sequential`` numbered as in the published networks (convs at 0, 3, 7, 10, 14, …).
    The publications differ in ``bias`` and ``last_pool``: LBYL and Neuron Merging have no bias and an average pool,
    the redundancy graph has a bias and an average pool, DFBF, RD_PRUNE and the dense network of the expanders have a
    bias and a max-pool. Hidden classifier layers are the neck :class:`MLPNeck`, the last one is the ``LinearClsHead``.

    :attr:`published_keys` reads ``feature.N``, ``features.N``, ``backbone.N``, and the names ``features.convI`` /
    ``features.normI`` that the redundancy graph's VGG-16 uses; ``classifier.N`` is renamed by :class:`MLPNeck`.

    Example:
        >>> model = CIFARVGG(16, bias=False, last_pool='avg')
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 32, 32))]
        [(1, 512, 1, 1)]
    """

    arch_settings = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
    stage_widths = (64, 128, 256, 512, 512)

    # Redundancy graph, VGG-16: I counts convs and poolings, N = 3·I − 2·(poolings before).
    _named = {index: 3 * index - 2 * sum(pool < index for pool in (2, 5, 9, 13)) for index in range(17)}
    published_keys = (
        (r'^module\.', ''),
        *((rf'^features\.conv{index}\.', f'backbone.features.{flat}.') for index, flat in _named.items()),
        *((rf'^features\.norm{index}\.', f'backbone.features.{flat + 1}.') for index, flat in _named.items()),
        (r'^features?\.', 'backbone.features.'),
        (r'^backbone\.(\d+)\.', r'backbone.features.\1.'),
        (r'^(?:classifier|fc|linear|dense)\.(weight|bias)$', r'head.fc.\1'),
    )

    def __init__(
        self,
        depth: int = 16,
        widths: Sequence[int] | None = None,
        bias: bool = True,
        last_pool: str | None = 'max',
        in_channels: int = 3,
        out_indices: Sequence[int] = (4,),
        init_cfg: dict | list[dict] | None = KAIMING_CONVS,
    ) -> None:
        """Build the network.

        Args:
            depth: 16 or 19.
            widths: Output channels of the 13 or 16 convs. Defaults to 64, 64, 128, 128, 256, …, 512.
            bias: Whether the convs have a bias.
            last_pool: The fifth pooling: 'max', 'avg' or None for none.
            in_channels: Channels of the images.
            out_indices: Stages (0 to 4) whose outputs, behind their pooling, are returned.
            init_cfg: Initialisation as in mmengine. Defaults to Kaiming-normal convs (fan out).
        """
        super().__init__(init_cfg)
        if depth not in self.arch_settings:
            raise ValueError(f'CIFARVGG: depth={depth} is not one of {sorted(self.arch_settings)}')
        if last_pool not in ('max', 'avg', None):
            raise ValueError(f"CIFARVGG: last_pool={last_pool!r} is neither 'max' nor 'avg' nor None")
        stages = self.arch_settings[depth]
        if widths is None:
            widths = [width for width, convs in zip(self.stage_widths, stages) for _ in range(convs)]
        if len(widths) != sum(stages):
            raise ValueError(f'CIFARVGG: widths has {len(widths)} entries, depth={depth} has {sum(stages)} convs')
        self.out_indices = tuple(out_indices)
        if not all(0 <= index < len(stages) for index in self.out_indices):
            raise ValueError(f'CIFARVGG: out_indices={self.out_indices} must lie in 0 … {len(stages) - 1}')

        layers, remaining = [], iter(widths)
        self.stage_ends = []
        for stage, convs in enumerate(stages):
            for _ in range(convs):
                channels = next(remaining)
                conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)
                layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
                in_channels = channels
            last = stage == len(stages) - 1
            if not last or last_pool:
                layers.append(nn.AvgPool2d(2) if last and last_pool == 'avg' else nn.MaxPool2d(2))
            self.stage_ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the stages in ``out_indices``, for images of shape (N, in_channels, H, W)."""
        outs = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.stage_ends and self.stage_ends.index(index) in self.out_indices:
                outs.append(x)
        return tuple(outs)
