"""Hidden fully connected layers between a backbone and a linear head."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmprune.models.initialization import SMALL_LINEARS
from mmprune.registry import MODELS


@MODELS.register_module()
class MLPNeck(BaseModule):
    """Flatten, then Linear, optional BN, ReLU and optional dropout for every hidden width.

    ``layers`` is one flat ``Sequential`` numbered as the published VGGs number their ``classifier``.
    :attr:`published_keys` sends ``classifier.N`` here and the last linear layer to the head, and knows the names
    ``classifier.linear1``, ``norm`` and ``linear2`` of the redundancy graph.

    Example:
        >>> neck = MLPNeck(512, (512,), norm=True)
        >>> neck((torch.rand(2, 512, 1, 1),))[0].shape
        torch.Size([2, 512])
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int] = (512,),
        norm: bool = False,
        dropout: float = 0.0,
        init_cfg: dict | list[dict] | None = SMALL_LINEARS,
    ) -> None:
        """Build the layers.

        Args:
            in_channels: Features of the flattened input: C for maps of shape (N, C, 1, 1).
            hidden_channels: Widths of the hidden layers.
            norm: Whether each hidden layer has a ``BatchNorm1d``.
            dropout: Share of features dropped behind each ReLU while training; with 0 there is no dropout layer.
            init_cfg: Initialisation as in mmengine. Defaults to normal weights of standard deviation 0.01.
        """
        super().__init__(init_cfg)
        layers: list[nn.Module] = []
        for channels in hidden_channels:
            layers.append(nn.Linear(in_channels, channels))
            if norm:
                layers.append(nn.BatchNorm1d(channels))
            layers.append(nn.ReLU())
            if dropout:
                layers.append(nn.Dropout(dropout))
            in_channels = channels
        self.layers = nn.Sequential(*layers)

    @property
    def published_keys(self) -> tuple[tuple[str, str], ...]:
        """Ordered (regular expression, replacement) pairs for the layers of this neck and for the head behind it."""
        last = len(self.layers)
        return (
            (r'^(?:module\.)?classifier\.linear1\.', 'neck.layers.0.'),
            (r'^(?:module\.)?classifier\.norm\.', 'neck.layers.1.'),
            (r'^(?:module\.)?classifier\.linear2\.', 'head.fc.'),
            (rf'^(?:module\.)?classifier\.{last}\.', 'head.fc.'),
            (r'^(?:module\.)?classifier\.(\d+)\.', r'neck.layers.\1.'),
        )

    def forward(self, inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor]:
        """The hidden features (N, hidden_channels[-1]) of the last input map, in a tuple."""
        x = inputs[-1] if isinstance(inputs, tuple) else inputs
        return (self.layers(x.flatten(1)),)
