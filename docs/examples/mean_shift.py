"""A restorer of one's own: what removed channels gave on average moves into the next batch norm."""

import torch
from torch import Tensor

from mmprune.graph.site import Activation, Norm, Site
from mmprune.registry import RESTORERS
from mmprune.restorers.base import Restorer


@RESTORERS.register_module()
class MeanShift(Restorer):
    """For conv → batch norm → ReLU → conv → batch norm; a batch norm says mean and deviation of its output."""

    def restore_site(self, site: Site, keep: Tensor) -> str:
        """Return '' if repaired, else the reason for the report. Nothing is cut yet: all shapes are dense."""
        removed = torch.ones(site.width, dtype=torch.bool)
        removed[keep.cpu()] = False
        for branch in site.branches:
            match branch.chain:
                case [Norm() as norm, Activation(name='relu')] if branch.next_norm is not None:
                    std, mean, *_ = norm.parameters()  # of the output: |weight| and bias
                case _:
                    return 'MeanShift: not conv → batch norm → ReLU → conv → batch norm'
            normal, std = torch.distributions.Normal(0.0, 1.0), std.abs().clamp_min(1e-12)
            relu = mean * normal.cdf(mean / std) + std * normal.log_prob(mean / std).exp()
            lost = torch.einsum('not,n->o', branch.read_weight()[removed], relu[removed])
            branch.next_norm.running_mean -= lost.to(branch.next_norm.running_mean)
        return ''
