"""The hooks of a run, each with its job: also without the tools, beside a user's own, and by hand."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmprune.allocators import Uniform
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.engine import make_loadable_config
from mmprune.errors import ConfigError
from mmprune.registry import ALLOCATORS
from tests.test_engine import tiny

BY_HAND = """
custom_hooks = [dict(type='mmprune.PruningHook', **pruning), dict(type='mmprune.EpochSeedHook')]
pruning = None
"""
FINETUNE = '\npruning.update(finetune=True, evaluate=False)\n'
DISTILLATION = """
pruning.update(finetune=True, evaluate=False, images=dict(type='GaussianNoise', num_images=48, batch_size=16),
               distillation=dict(type='FeatureDistillation', bn='train'))
"""


@HOOKS.register_module()
class Listener(Hook):
    """A user's own hook, which hears what happens."""

    heard: list = []  # noqa: RUF012

    def after_prune(self, runner: Runner, stages: list, **kwargs: object) -> None:
        self.heard.append(('after_prune', [stage.name for stage in stages], runner.iter))

    def before_finetune(self, runner: Runner, teacher: object, **kwargs: object) -> None:
        self.heard.append(('before_finetune', teacher is not None, runner.iter))

    def after_finetune(self, runner: Runner, stages: list, **kwargs: object) -> None:
        self.heard.append(('after_finetune', [stage.name for stage in stages], runner.iter))


@ALLOCATORS.register_module()
class CountedUniform(Uniform):
    """Counts how often it is built."""

    built = 0

    def __init__(self, ratio: float = 0.5) -> None:
        super().__init__(ratio)
        type(self).built += 1


def scalars(work_dir: Path) -> list[dict]:
    """What a run showed to mmengine's local backend."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_a_hook_written_by_hand_in_a_plain_runner(tmp_path: Path) -> None:
    cfg = make_loadable_config(tiny.config(tmp_path / 'hand', FINETUNE + BY_HAND))
    cfg.experiment_name = 'by_hand'
    Runner.from_cfg(cfg).train()
    tiny.call('train', tiny.write_config(tmp_path, FINETUNE), '--work-dir', tmp_path / 'tool')
    for name in ('pruned', 'finetuned', 'epoch_2'):
        one, two = (read_checkpoint(tmp_path / run / f'{name}.pth')['state_dict'] for run in ('hand', 'tool'))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert [stage['name'] for stage in tiny.stages(tmp_path / 'hand')] == ['dense', 'pruned', 'finetuned']


def test_distillation_by_hand_does_not_learn_from_real_images_in_silence(tmp_path: Path) -> None:
    cfg = make_loadable_config(tiny.config(tmp_path, DISTILLATION + BY_HAND))
    cfg.experiment_name = 'real_images'
    with pytest.raises(ConfigError, match='train_dataloader: Digits holds real images'):
        Runner.from_cfg(cfg).train()


def test_a_key_that_a_hook_by_hand_does_not_know(tmp_path: Path) -> None:
    cfg = make_loadable_config(tiny.config(tmp_path, FINETUNE + "\npruning['schedul'] = None\n" + BY_HAND))
    cfg.experiment_name = 'unknown_key'
    with pytest.raises(ConfigError, match=r"pruning\.schedul: unknown.*'schedule'"):
        Runner.from_cfg(cfg)


@pytest.mark.parametrize(
    ('extra', 'taught'), [(FINETUNE, False), (DISTILLATION, True)], ids=['labels', 'distillation']
)
def test_hooks_of_the_user_hear_the_steps(tmp_path: Path, extra: str, taught: bool) -> None:
    more = "\npruning['schedule'] = dict(type='linear', steps=2)\ncustom_hooks = [dict(type='Listener')]\n"
    Listener.heard.clear()
    tiny.call('train', tiny.write_config(tmp_path, extra + more), '--work-dir', tmp_path / 'run')
    assert Listener.heard == [
        ('after_prune', ['dense', 'pruned'], 0),
        ('before_finetune', taught, 0),
        ('after_prune', ['pruned'], 3),
        ('before_finetune', taught, 3),
        ('after_finetune', ['finetuned'], 6),
    ]


def test_stages_are_shown_to_the_visualiser_once(tmp_path: Path) -> None:
    config = tiny.write_config(tmp_path, "\npruning['finetune'] = True\n")
    tiny.call('train', config, '--work-dir', tmp_path / 'a')
    tiny.call('train', config, '--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a' / 'epoch_1.pth')
    stages = {stage['name']: stage for stage in tiny.stages(tmp_path / 'a')}
    lines = scalars(tmp_path / 'a')
    for name, step in (('dense', 0), ('pruned', 0), ('finetuned', 6)):
        (shown,) = [line for line in lines if f'{name}/params' in line]
        assert shown['step'] == step
        assert shown[f'{name}/flops'] == stages[name]['flops']
        assert shown[f'{name}/accuracy/top1'] == stages[name]['metrics']['accuracy/top1']
    resumed = scalars(tmp_path / 'b')
    assert not any('pruned/params' in line for line in resumed)
    assert sum('finetuned/params' in line for line in resumed) == 1


def test_a_tool_builds_the_parts_once(tmp_path: Path) -> None:
    for number, finetune in enumerate((False, True), start=1):
        extra = f'\npruning.update(finetune={finetune}, evaluate=False)\n'
        extra += "pruning['pruner']['allocator'] = dict(type='CountedUniform', ratio=0.5)\n"
        tiny.call('train', tiny.write_config(tmp_path, extra), '--work-dir', tmp_path / str(number))
        assert CountedUniform.built == number


def test_after_distillation_the_runner_still_tests_the_host(tmp_path: Path) -> None:
    """The averaged weights are in the host, and so are those of checkpoints: no key tells of wrapper or teacher."""
    extra = DISTILLATION + "\ncustom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]\n"
    tiny.call('train', tiny.write_config(tmp_path, extra), '--work-dir', tmp_path / 'run')
    checkpoint = read_checkpoint(tmp_path / 'run' / 'epoch_2.pth')
    keys = set(checkpoint['state_dict'])
    assert keys == set(read_checkpoint(tmp_path / 'run' / 'pruned.pth')['state_dict'])
    averaged = {key.removeprefix('module.') for key in checkpoint['ema_state_dict']} - {'steps'}
    assert averaged == keys
