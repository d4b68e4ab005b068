"""The loss that DeepInversion minimises, and the random moves that it makes an image bear."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmprune.graph.tracing import flatten_tensors
from mmprune.images.inverted_network import InvertedNetwork

#: A batch norm's term at least this large is left out.
TOO_LARGE = 1e7


@dataclass(frozen=True)
class ImageLoss:
    """``main · L_CE + bn · R_bn + tv1 · TV1 + tv2 · TV2 + l2 · R_l2``.

    Attributes:
        main: Weight of the cross entropy (classifiers only).
        bn: Weight of the distances of the batch norms.
        first_bn: Weight of the first batch norm among them; the others have 1.
        tv1: Weight of the mean absolute differences of neighbours.
        tv2: Weight of the norms of the differences of neighbours.
        l2: Weight of the size of the images.
        l2_norm: 'batch': norm of the whole tensor; 'image': mean of the images' norms.
    """

    main: float
    bn: float
    first_bn: float
    tv1: float
    tv2: float
    l2: float
    l2_norm: str

    def __call__(self, network: InvertedNetwork, seen: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """The loss of a batch.

        Args:
            network: Fixed.
            seen: The images as moved, (N, C, H, W).
            labels: Class of each image, (N,); None: no cross entropy.

        Returns:
            The terms with non-zero weight, not multiplied by it, and ``total``.
        """
        output, distances = network(seen)
        terms = {'bn': self.statistics(distances)}
        if labels is not None and self.main:
            terms['main'] = F.cross_entropy(flatten_tensors(output)[0].float(), labels)
        if self.tv1 or self.tv2:
            gaps = differences(seen)
            terms['tv1'] = sum(gap.abs().mean() for gap in gaps) if self.tv1 else None
            terms['tv2'] = sum(gap.norm() for gap in gaps) if self.tv2 else None
        if self.l2:
            terms['l2'] = seen.norm() if self.l2_norm == 'batch' else seen.flatten(1).norm(dim=1).mean()
        terms = {key: value for key, value in terms.items() if value is not None}
        return {**terms, 'total': sum(getattr(self, key) * value for key, value in terms.items())}

    def statistics(self, distances: Tensor) -> Tensor:
        """R_bn from the distances of all batch norms, in the order in which they ran."""
        weighted = torch.cat([self.first_bn * distances[:1], distances[1:]])
        return torch.where(weighted >= TOO_LARGE, 0, weighted).sum()


def differences(images: Tensor) -> list[Tensor]:
    """Differences of horizontal, vertical and both diagonal neighbours of images (N, C, H, W)."""
    return [
        images[..., :-1] - images[..., 1:],
        images[..., :-1, :] - images[..., 1:, :],
        images[..., 1:, :-1] - images[..., :-1, 1:],
        images[..., :-1, :-1] - images[..., 1:, 1:],
    ]


def move(images: Tensor, downscale: int, roll: tuple[int, int], flip: bool) -> Tensor:
    """Images (N, C, H, W) pooled, rolled along height and width, and mirrored."""
    if downscale > 1:
        images = F.avg_pool2d(images, downscale)
    if any(roll):
        images = images.roll(roll, (2, 3))
    return images.flip(3) if flip else images
