"""What every process of the distributed tests does: runs configs, and checks that all processes stay alike."""

from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmprune.surgery.masking import masks
from tests.test_engine import tiny


def _same_everywhere(tensors: list[torch.Tensor]) -> bool:
    own = torch.cat([tensor.detach().double().flatten() for tensor in tensors])
    sums = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(sums, own)
    return all(torch.equal(sums[0], other) for other in sums)


@HOOKS.register_module()
class SameEverywhere(Hook):
    """In every step, processes must have the same gradients, all of them, and end with the same weights."""

    def before_train(self, runner: Runner) -> None:
        def check_gradients(optimizer: torch.optim.Optimizer, *args: object) -> None:
            parameters = list(runner.model.module.parameters())
            held = [p for group in optimizer.param_groups for p in group['params']]
            assert set(map(id, held)) == set(map(id, parameters))
            assert all(p.grad is not None and p.grad.shape == p.shape for p in parameters)
            assert _same_everywhere([p.grad for p in parameters]), 'gradients'

        runner.optim_wrapper.optimizer.register_step_pre_hook(check_gradients)

    def after_train_iter(self, runner: Runner, **kwargs: object) -> None:
        assert _same_everywhere(list(runner.model.module.parameters())), 'weights'
        for name, mask in masks(runner.model.module).items():
            assert not runner.model.module.get_submodule(name).weight[~mask].any(), name


def prune_and_train(folder: Path) -> None:
    """Run all three kinds of pruning, resume the first, and test it."""
    with mock.patch('mmprune.engine.hooks.report_hook.plot_report'):
        for name in ('channels', 'weights', 'expanders'):
            tiny.call('train', folder / f'{name}.py', '--work-dir', folder / name, '--launcher', 'pytorch')
            dist.barrier()  # the first process writes the checkpoints
        tiny.call(
            'train',
            folder / 'channels.py',
            '--work-dir',
            folder / 'resumed',
            '--launcher',
            'pytorch',
            '--resume',
            folder / 'channels' / 'epoch_1.pth',
        )
        dist.barrier()
        tiny.call(
            'test',
            folder / 'channels.py',
            folder / 'resumed' / 'finetuned.pth',
            '--work-dir',
            folder / 'test',
            '--launcher',
            'pytorch',
        )


def distil(folder: Path) -> None:
    """Distil, and once more from the first epoch's checkpoint."""
    with mock.patch('mmprune.engine.hooks.report_hook.plot_report'):
        tiny.call('train', folder / 'several.py', '--work-dir', folder / 'several', '--launcher', 'pytorch')
        tiny.call(
            'train',
            folder / 'several.py',
            '--work-dir',
            folder / 'resumed',
            '--launcher',
            'pytorch',
            '--resume',
            folder / 'several' / 'epoch_1.pth',
        )
