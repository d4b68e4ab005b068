"""What every look at a network starts from."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property

from mmengine.config import Config
from torch import nn

from mmprune.graph.scope import Scope
from mmprune.images.loader import LoaderImages
from mmprune.registry import MODELS


@dataclass
class Context:
    """One network, where it is pruned, and the options of the command line.

    Attributes:
        cfg: The config.
        args: Arguments of tools/analyze.py.
        scope: The network (with the checkpoint's weights and widths), its example input and targets.
    """

    cfg: Config
    args: argparse.Namespace
    scope: Scope

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.scope.model

    @property
    def settings(self) -> dict:
        """The config's ``pruning``; empty if it has none."""
        return self.cfg.get('pruning') or {}

    @cached_property
    def images(self) -> LoaderImages | None:
        """The images of the loader that --images names."""
        if not self.args.images:
            return None
        return LoaderImages(self.cfg, self.model, self.args.images, self.args.num_images)

    def dense(self) -> nn.Module:
        """The network of the config as nobody has cut it."""
        return MODELS.build(self.cfg.model).to(self.args.device).eval()
