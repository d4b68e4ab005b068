"""LeNet-300-100, the fully connected network of the Neuron Merging and LBYL papers."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmprune.registry import MODELS


@MODELS.register_module()
class LeNet300(BaseModule):
    """Two fully connected layers with ReLU on 28² grey images; ``LinearClsHead(in_channels=100)`` is the third.

    No neck is needed. :attr:`published_keys` reads the authors' names ``ip1``, ``ip2`` and ``ip3`` (the head).

    Example:
        >>> LeNet300()(torch.rand(2, 1, 28, 28))[0].shape
        torch.Size([2, 100])
    """

    published_keys = ((r'^module\.', ''), (r'^(ip[12])\.', r'backbone.\1.'), (r'^ip3\.', 'head.fc.'))

    def __init__(
        self, widths: Sequence[int] = (300, 100), in_features: int = 784, init_cfg: dict | list[dict] | None = None
    ) -> None:
        """Build the network.

        Args:
            widths: Features of the two hidden layers.
            in_features: Pixels of an image, over all channels.
            init_cfg: Initialisation as in mmengine. Defaults to that of torch.
        """
        super().__init__(init_cfg)
        if len(widths) != 2:
            raise ValueError(f'LeNet300: widths={tuple(widths)} must name the two hidden layers')
        self.ip1 = nn.Linear(in_features, widths[0])
        self.relu1 = nn.ReLU()
        self.ip2 = nn.Linear(widths[0], widths[1])
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """The hidden features (N, widths[1]) of images (N, C, H, W), in a tuple."""
        x = self.relu1(self.ip1(x.flatten(1)))
        return (self.relu2(self.ip2(x)),)
