"""CurveMeasurer: equal to the literal loop, grids, cache, calibration data, ranks."""

import json
from functools import partial

import pytest
import torch

import mmprune
from mmprune.distortion import ChannelCut, CurveMeasurer
from mmprune.distortion.curves import output_errors
from mmprune.errors import ConfigError
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.images import as_source
from mmprune.pruners.weight import WeightPruner, weight_cut
from mmprune.surgery.masking import attach_mask
from tests.oracles.rate_distortion import literal_curve
from tests.ranks import in_ranks
from tests.test_distortion.networks import NETWORKS, make


def images_of(count=6, size=8):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def scope_of(net):
    return Scope.of(net, torch.zeros(1, 3, 8, 8))


def cuts_of(net):
    layers = {name: m for name, m in net.named_modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    return [weight_cut(name, layer) for name, layer in layers.items()]


def measurer(**options):
    return CurveMeasurer(**{'cache': False, 'batch_size': 4, 'points': 5, **options})


def joined(net, batch):
    outputs = net(batch)
    return outputs if isinstance(outputs, torch.Tensor) else torch.cat([out.flatten(1) for out in outputs], dim=1)


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('worst_case', [True, False])
def test_equal_to_the_literal_loop(name, worst_case):
    net, images = make(name), images_of()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    curves = measurer(worst_case=worst_case).measure(cuts_of(net), scope_of(net), as_source(images))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    for layer, (kept, distortion) in curves.items():
        expected = literal_curve(net, joined, layer, kept, [images], worst_case)
        assert distortion[0] == 0 and kept[-1] == 0
        torch.testing.assert_close(distortion, expected, rtol=1e-5, atol=1e-8)


def test_channels_equal_the_literal_loop():
    net, images = make('in place'), images_of()
    scope = scope_of(net)
    groups = [g for g in find_groups(net, scope.forward, scope.example, scope.targets) if g.prunable]
    scores = {g.name: torch.rand(g.width) for g in groups}
    cuts = [ChannelCut(g.name, g.readers, scores[g.name]) for g in groups]
    curves = measurer().measure(cuts, scope, as_source(images))
    for group in groups:

        def zero(pruned, kept, group=group):
            gone = scores[group.name].argsort(descending=True)[kept:]
            for member in group.readers:
                pruned.get_submodule(member.name).weight.data[:, gone] = 0

        kept, distortion = curves[group.name]
        expected = literal_curve(net, joined, '', kept, [images], zero=zero)
        torch.testing.assert_close(distortion, expected, rtol=1e-5, atol=1e-8)
    assert len(groups) >= 3


def test_what_never_runs_has_no_distortion_and_is_not_pruned():
    net = make('shared')
    curves = measurer().measure(cuts_of(net), scope_of(net), as_source(images_of()))
    assert not curves['unused'][1].any()
    report = mmprune.prune(
        net,
        torch.zeros(1, 3, 8, 8),
        pruner=dict(
            type='WeightPruner',
            allocator=dict(type='RateDistortion', ratio=0.5, curves=dict(cache=False, num_images=4, points=4)),
        ),
    )
    assert 'unused' not in [row.name for row in report.layers]
    assert net.unused.weight.all()


def test_grids():
    cut = weight_cut('conv', torch.nn.Conv2d(10, 10, 1))
    assert measurer(points=4).kept_counts(cut) == [100, 75, 50, 25, 0]
    assert measurer(points=1000).kept_counts(cut) == list(range(100, -1, -1))
    cut.alive = 60
    assert measurer(points=4).kept_counts(cut) == [60, 45, 30, 15, 0]
    assert measurer(points=4, grid='absolute').kept_counts(cut) == [60, 50, 25, 0]
    cut.alive = 0
    assert measurer(points=4).kept_counts(cut) == [0]


def test_masked_weights_count_as_gone():
    net = make('in place')
    weight = net.blocks[0].conv1.weight
    mask = torch.rand(weight.shape) > 0.5
    attach_mask(net.blocks[0].conv1, mask)
    (cut,) = [cut for cut in cuts_of(net) if cut.name == 'blocks.0.conv1']
    curves = measurer(grid='absolute', points=20).measure([cut], scope_of(net), as_source(images_of()))
    kept, distortion = curves[cut.name]
    assert kept[0] == mask.sum() and distortion[0] == 0 and (kept[1:] < mask.sum()).all()
    expected = literal_curve(net, joined, cut.name, kept, [images_of()])
    torch.testing.assert_close(distortion, expected, rtol=1e-5, atol=1e-8)


def test_the_same_noise_every_time_and_images_when_there_are_some():
    net, images = make('in place'), images_of(12)
    cut = cuts_of(net)[:1]

    def curve(given, **options):
        return measurer(num_images=8, **options).measure(cut, scope_of(net), as_source(given))['stem'][1]

    assert torch.equal(curve(None), curve(None))
    assert not torch.equal(curve(None), curve(None, seed=1))
    assert torch.equal(curve(None), curve([images], source='noise'))
    assert not torch.equal(curve(None), curve([images]))
    assert torch.equal(curve([images]), curve([images[:8]]))
    assert torch.allclose(curve([images]), curve(iter(images.split(3)), batch_size=5))
    assert 'no data' in measurer().describe(None) and 'no data' not in measurer().describe(as_source(images))


def test_cache_is_found_by_content_only(tmp_path, monkeypatch):
    net, images = make('in place'), images_of()
    calls = []
    monkeypatch.setattr(
        CurveMeasurer,
        '_curve',
        lambda self, *args, original=CurveMeasurer._curve: (calls.append(args[0].name), original(self, *args))[1],
    )

    def measure(**options):
        calls.clear()
        curves = measurer(cache=tmp_path, **options).measure(cuts_of(net), scope_of(net), as_source(images))
        return len(calls), curves

    number, first = measure()
    assert number == 9
    number, second = measure()
    assert number == 0
    assert all(torch.equal(first[name][1], second[name][1]) for name in first)
    assert measure(worst_case=False)[0] == 0  # both are kept
    assert measure(points=7)[0] == 9
    for file in tmp_path.glob('*.json'):
        file.write_text('{')
    assert measure()[0] == 9
    with torch.no_grad():
        net.fc.bias[0] += 1e-3
    assert measure()[0] == 9
    images = images + 1e-3
    assert measure()[0] == 9


def test_an_interrupted_measurement_goes_on_where_it_was(tmp_path, monkeypatch):
    net, original, left = make('in place'), CurveMeasurer._curve, [3]

    def interrupted(self, *args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(CurveMeasurer, '_curve', interrupted)
    with pytest.raises(KeyboardInterrupt):
        measurer(cache=tmp_path).measure(cuts_of(net), scope_of(net), as_source(images_of()))
    assert len(list(tmp_path.glob('*.json'))) == 3
    left[0] = 6
    measurer(cache=tmp_path).measure(cuts_of(net), scope_of(net), as_source(images_of()))
    assert left[0] == 0
    assert json.loads(next(tmp_path.glob('*.json')).read_text())['kept']


def test_feature_maps_of_all_levels_count():
    reference = [torch.zeros(2, 3, 2, 2), torch.zeros(2, 4)]
    outputs = [torch.ones(2, 3, 2, 2), torch.zeros(2, 4)]
    assert torch.equal(output_errors(reference, outputs), torch.tensor([0.75, 0.75], dtype=torch.float64))
    with pytest.raises(ValueError, match='first dimension'):
        output_errors([torch.zeros(2, 3), torch.zeros(3)], [torch.zeros(2, 3), torch.zeros(3)])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(points=0), 'curves.points'),
        (dict(grid='other'), 'curves.grid'),
        (dict(source='web'), 'curves.source'),
        (dict(nonsense=1), 'nonsense'),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        WeightPruner(dict(type='RateDistortion', ratio=0.5, curves=options))


def _measure(folder):
    rank, net, seen = torch.distributed.get_rank(), make('in place'), []
    original = CurveMeasurer._curve
    CurveMeasurer._curve = lambda self, *args: (seen.append(args[0].name), original(self, *args))[1]
    images = as_source([images_of()] if rank == 0 else [])  # belong to all ranks
    curves = measurer().measure(cuts_of(net), scope_of(net), images)
    torch.save((curves, seen), f'{folder}/{rank}.pt')


@pytest.mark.slow
@pytest.mark.parametrize('world', [2, 4])
def test_ranks_share_the_layers_and_agree(tmp_path, world):
    in_ranks(partial(_measure, tmp_path), world, tmp_path)
    net = make('in place')
    alone = measurer().measure(cuts_of(net), scope_of(net), as_source(images_of()))
    ranks = [torch.load(tmp_path / f'{rank}.pt') for rank in range(world)]
    shares = [seen for _, seen in ranks]
    assert sorted(sum(shares, [])) == sorted(alone) and max(map(len, shares)) - min(map(len, shares)) <= 1
    for curves, _ in ranks:
        assert all(torch.equal(curves[name][1], alone[name][1]) for name in alone)
