"""Ordinary training of a network that was pruned before."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmprune.checkpoint.record import structure_of
from mmprune.engine.rebuild import reconnect_averages, rewrap
from mmprune.graph.program import unwrap
from mmprune.registry import HOOKS


@HOOKS.register_module()
class RebuildHook(Hook):
    """After ``load_from`` or a resume has cut the network: DDP and EMA get to know the new widths."""

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Rebuild if the network is pruned."""
        if structure_of(unwrap(runner.model)):
            rewrap(runner)
            reconnect_averages(runner)
