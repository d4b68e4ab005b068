"""Training that can be resumed bit by bit."""

from __future__ import annotations

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmprune.pipeline import seed_everything
from mmprune.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, NumPy and torch before every epoch, from the run's seed and the number of the epoch.

    mmengine does not put the states of random number generators into checkpoints. With this hook an epoch draws the
    same numbers (dropout, augmentation in the main process) whether or not the run was interrupted before it.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the epoch that begins."""
        own = get_rank() if (runner.cfg.get('randomness') or {}).get('diff_rank_seed') else 0
        seed_everything(runner.seed + 1000 * runner.epoch + own)
