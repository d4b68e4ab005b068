"""Every look at a network gives a table and the same as plain data."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

import mmprune
from mmprune.analysis import LOOKS, Context
from mmprune.engine import make_loadable_config
from mmprune.engine.cli import load_model
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.registry import PRUNERS, build_part
from tests.detectors import retinanet

ROOT = Path(__file__).parents[2]
KEEP = ['conv1', '*.conv2', '*.downsample*']
PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5), keep=KEEP)


def context(tmp_path: Path, checkpoint: str | None = None, **options: object) -> Context:
    cfg = Config.fromfile(ROOT / 'configs' / 'quickstart' / 'resnet_digits.py')
    cfg.pruning = dict(target='backbone', pruner=PRUNER, input_shape=(3, 32, 32))
    args = argparse.Namespace(
        **{
            **dict(
                checkpoint=checkpoint,
                runs=2,
                threads=1,
                images=None,
                num_images=8,
                ratios=None,
                samples=50,
                plot=None,
                device='cpu',
            ),
            **options,
        }
    )
    torch.manual_seed(0)
    model, example = load_model(make_loadable_config(cfg), checkpoint)
    return Context(cfg, args, Scope.of(model, example, 'backbone'))


@pytest.mark.parametrize('name', ['groups', 'complexity', 'latency', 'moments', 'sensitivity'])
def test_a_table_and_plain_data(name: str, tmp_path: Path) -> None:
    text, data = LOOKS[name](context(tmp_path))
    assert len(text.splitlines()) > 2
    assert json.loads(json.dumps(data))


def looks_at(model: nn.Module, target: object, **pruner: object) -> Context:
    """A context whose config prunes so, without images or files."""
    uniform = dict(type='Uniform', ratio=0.5)
    pruning = dict(target=target, pruner=dict(type='ChannelPruner', allocator=uniform, min_channels=1, **pruner))
    args = argparse.Namespace(images=None, ratios=[0.5], num_images=2, plot=None)
    scope = Scope.of(model, torch.randn(1, 3, 64, 64), target)
    return Context(Config(dict(pruning=pruning)), args, scope)


@pytest.mark.parametrize(
    'target, pruner',
    [
        ('backbone', dict()),
        ('backbone', dict(keep=['conv1', '*.conv2', '*.downsample*'])),
        ('backbone', dict(overrides={'layer1.*': 0.25, 'layer2.0.conv1': 0.0})),
        ('backbone', dict(prune_interface=True)),
        (['backbone', 'neck'], dict(prune_interface=True, keep=['neck.fpn_convs.0*'])),
        (['neck', 'bbox_head'], dict(keep=['bbox_head.reg_convs.*'])),
    ],
)
def test_looks_and_pruner_know_the_same_groups(target: object, pruner: dict) -> None:
    look = looks_at(retinanet(), target, **pruner)
    plan = build_part(PRUNERS, look.settings['pruner'], 'pruner').plan(look.scope)
    shown = LOOKS['groups'](look)[1]['groups']
    assert [(g['name'], g['width'], g['members']) for g in shown] == [(r.name, r.before, r.members) for r in plan.rows]
    whole = [row for row in plan.rows if row.after == row.before and not row.reason.startswith('nothing to remove')]
    assert {g['name']: g['reason'] for g in shown if g['reason']} == {row.name: row.reason for row in whole}
    free = [g['name'] for g in shown if not g['reason']]
    assert free and [row['name'] for row in LOOKS['sensitivity'](look)[1]['sensitivity']] == free
    assert [row['name'] for row in LOOKS['moments'](look)[1]['moments']] == free


def test_a_pattern_that_matches_nothing_is_named_with_its_full_key() -> None:
    with pytest.raises(ConfigError, match=r"pruning\.pruner\.keep: the pattern 'nothing'"):
        LOOKS['groups'](looks_at(retinanet(), 'backbone', keep=['nothing']))


def test_groups_of_a_config_that_prunes_weights(tmp_path: Path) -> None:
    look = context(tmp_path)
    look.cfg.pruning.pruner = dict(type='WeightPruner', pattern='2:4')
    assert any(not group['reason'] for group in LOOKS['groups'](look)[1]['groups'])


def test_sensitivity_rises_with_the_ratio_and_ends_at_a_whole_group(tmp_path: Path) -> None:
    look = context(tmp_path, ratios=[0.25, 0.5, 0.9], plot=str(tmp_path / 'map.png'))
    before = {key: value.clone() for key, value in look.model.state_dict().items()}
    layers = LOOKS['sensitivity'](look)[1]['sensitivity']
    assert len(layers) == 9 and all(row['name'].endswith('conv1') for row in layers)
    assert all(0 <= row['distortion'][0] < row['distortion'][-1] for row in layers)
    assert (tmp_path / 'map.png').read_bytes().startswith(b'\x89PNG')
    after = look.model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_sensitivity_is_the_distortion_of_that_cut(tmp_path: Path) -> None:
    """Judged by really pruning one group and running the same inputs."""
    look = context(tmp_path, ratios=[0.5])
    row = LOOKS['sensitivity'](look)[1]['sensitivity'][0]
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    dense = look.scope.forward(images)
    others = {
        other['name']: 0.0
        for other in LOOKS['groups'](look)[1]['groups']
        if other['name'] != row['name'] and not other['reason']
    }
    mmprune.prune(look.model, look.scope.example, 'backbone', dict(PRUNER, overrides=others), restorer=None)
    cut = look.scope.forward(images)
    expected = float((cut - dense).square().mean() / dense.square().mean())
    assert row['distortion'][0] == pytest.approx(expected, rel=1e-3)


def test_latency_compares_with_the_dense_network(tmp_path: Path) -> None:
    look = context(tmp_path)
    mmprune.prune(look.model, look.scope.example, 'backbone', PRUNER, restorer=None)
    mmprune.save(look.model, tmp_path / 'pruned.pth')
    data = LOOKS['latency'](context(tmp_path, str(tmp_path / 'pruned.pth')))[1]
    assert data['flops']['pruned'] < 0.7 * data['flops']['dense'] and set(data['latency']) == {'dense', 'pruned'}


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='--ratios'):
        LOOKS['sensitivity'](context(tmp_path, ratios=[0.5, 1.0]))
    with pytest.raises(ConfigError, match='draws no graphs'):
        LOOKS['expander'](context(tmp_path))
