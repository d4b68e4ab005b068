"""A conv or linear layer as a graph between its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmprune.graph.site import Layer


@dataclass(frozen=True)
class SparseLayer:
    """Dimensions of a layer's bipartite graph; a grouped conv has one graph per group.

    Attributes:
        name: Module path.
        module: The layer.
        inputs: Left vertices (of a group).
        outputs: Right vertices (of a group).
        groups: Number of graphs.
        taps: Weights per edge: the kernel's size.
    """

    name: str
    module: Layer
    inputs: int
    outputs: int
    groups: int
    taps: int

    @classmethod
    def of(cls, name: str, module: nn.Module) -> SparseLayer:
        """Read a conv (of any dimension, transposed or not) or linear layer."""
        if isinstance(module, nn.Linear):
            return cls(name, module, module.in_features, module.out_features, 1, 1)
        if not isinstance(module, _ConvNd):
            raise TypeError(f'{name} is a {type(module).__name__}: only conv and linear layers have a graph')
        groups = module.groups
        return cls(
            name,
            module,
            module.in_channels // groups,
            module.out_channels // groups,
            groups,
            module.weight[0, 0].numel(),
        )

    @property
    def pairs(self) -> int:
        """Edges of the complete graph (of a group)."""
        return self.inputs * self.outputs

    def mask(self, graphs: Sequence[np.ndarray]) -> Tensor:
        """Bool, the weight's shape: an edge keeps all taps between an input and an output channel.

        Args:
            graphs: For every group bool of shape (inputs, outputs).
        """
        # the weight's shape is (groups · outputs, inputs, …), transposed (groups · inputs, outputs, …)
        flat = np.concatenate([graph if self._transposed else graph.T for graph in graphs])
        flat = torch.from_numpy(np.ascontiguousarray(flat))
        weight = self.module.weight
        return flat.reshape(*flat.shape, *[1] * (weight.dim() - 2)).expand(weight.shape).contiguous()

    def graphs(self, mask: Tensor) -> list[np.ndarray]:
        """The other way round; two channels are connected if any tap between them stays."""
        flat = mask.cpu().reshape(*mask.shape[:2], -1).any(dim=2).numpy()
        parts = np.split(flat, self.groups)
        return parts if self._transposed else [part.T for part in parts]

    @property
    def _transposed(self) -> bool:
        return getattr(self.module, 'transposed', False)
