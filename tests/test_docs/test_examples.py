"""The examples of the documentation do what the pages say."""

import copy
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

import mmprune
from docs.examples.array_images import ArrayImages
from docs.examples.fan_out import FanOut
from docs.examples.mean_shift import MeanShift
from docs.examples.ramp import Ramp
from mmprune.allocators.base import Layer
from mmprune.engine import prepare_config

EXAMPLES = Path(__file__).parents[2] / 'docs/examples'


def network() -> tuple[nn.Module, Tensor]:
    """Three convs whose batch norms have seen the images."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 8, 3),
        nn.BatchNorm2d(8),
    )
    images = torch.randn(128, 3, 16, 16)
    for norm in (module for module in net if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.momentum = None
    with torch.no_grad():
        net.train()(images)
    return net.eval(), images


def test_ten_lines_of_python_prune_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(EXAMPLES / 'prune_from_python.py'))
    stages = found['report'].stages
    assert stages[-1].flops <= 0.6 * stages[0].flops
    assert sum(p.numel() for p in found['model'].parameters()) == stages[-1].params
    assert 'restored' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['fan_out', 'ramp', 'mean_shift', 'array_images'])
def test_a_part_has_at_most_thirty_lines(name: str) -> None:
    assert len((EXAMPLES / f'{name}.py').read_text().splitlines()) <= 30


def test_the_criterion_is_the_product_of_both_norms() -> None:
    net, images = network()
    with torch.no_grad():
        net[3].weight[:, 5] = 0  # nobody listens to channel 5
        net[0].weight[7] = 0  # nothing makes channel 7
    report = mmprune.prune(
        net,
        images[:1],
        restorer=None,
        pruner=dict(type='ChannelPruner', criterion='FanOut', allocator=dict(type='Uniform', ratio=2 / 32)),
    )
    assert report.layers[0].after == 30
    assert (net[3].weight.abs().sum(dim=(0, 2, 3)) > 0).all() and (net[0].weight.abs().sum(dim=(1, 2, 3)) > 0).all()
    with pytest.raises(mmprune.ConfigError, match=r'^pruner\.criterion\.power: a number above 0, got 0'):
        mmprune.prune(
            net,
            images[:1],
            pruner=dict(
                type='ChannelPruner', criterion=dict(type='FanOut', power=0), allocator=dict(type='Uniform', ratio=0.5)
            ),
        )
    assert FanOut(2.0).power == 2.0


@pytest.mark.parametrize('ratio', [0.1, 0.3, 0.5])
def test_the_allocator_takes_more_from_late_layers_and_the_same_in_all(ratio: float) -> None:
    layers = [Layer(str(i), 1000, (1000, 3, 3, 3)) for i in range(9)]
    counts = Ramp(ratio=ratio, slope=0.5).keep_counts(layers, ratio)
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert abs(sum(counts) - 9000 * (1 - ratio)) <= 9
    assert Ramp(ratio=ratio, slope=0).keep_counts(layers[:1], ratio) == [round(1000 * (1 - ratio))]
    with pytest.raises(ValueError, match=r'^slope: a number in \[0, 2\], got 3'):
        Ramp(ratio=ratio, slope=3)


def test_the_restorer_repairs_what_it_can_and_says_where_it_cannot() -> None:
    net, images = network()
    errors = {}
    with torch.no_grad():
        dense = net(images)
        for restorer in (None, 'MeanShift'):
            pruned = copy.deepcopy(net)
            report = mmprune.prune(
                pruned,
                images[:1],
                restorer=restorer,
                pruner=dict(type='ChannelPruner', criterion='FanOut', allocator=dict(type='Ramp', ratio=0.4)),
            )
            errors[restorer] = (pruned(images) - dense).square().mean()
    assert errors['MeanShift'] < 0.8 * errors[None]
    assert [row.repair for row in report.layers] == ['MeanShift', 'MeanShift', '']
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    report = mmprune.prune(
        plain,
        images[:1],
        restorer=MeanShift(),
        pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5)),
    )
    assert 'MeanShift: not conv' in report.layers[0].repair


def test_the_image_source_gives_a_part_its_images(tmp_path: Path) -> None:
    net, _ = network()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / 'photographs.npy', pixels)
    images = ArrayImages(tmp_path / 'photographs.npy', mean=[120, 120, 120], std=[60, 60, 60], batch_size=20)
    assert [len(batch) for batch in images] == [len(batch) for batch in images] == [20, 10]
    assert torch.equal(next(iter(images))[3, 2], (torch.from_numpy(pixels[3, :, :, 2]) - 120.0) / 60)
    report = mmprune.prune(
        net,
        next(iter(images))[:1],
        images=images,
        restorer='BNRecalibration',
        pruner=dict(
            type='ChannelPruner',
            criterion='L2Norm',
            allocator=dict(type='RateDistortion', ratio=0.5, curves=dict(cache=False, points=2)),
        ),
    )
    assert '30 photographs of an array, no labels' in str(report.to_dict())


def test_the_config_names_all_three() -> None:
    pruning = prepare_config(Config.fromfile(EXAMPLES / 'my_resnet56.py')).pruning
    assert (pruning.pruner.criterion, pruning.pruner.allocator.type, pruning.restorer.type) == (
        'FanOut',
        'Ramp',
        'MeanShift',
    )
