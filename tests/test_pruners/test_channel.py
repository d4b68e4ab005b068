"""ChannelPruner: what users set, and what they then get."""

import copy
import json

import pytest
import torch
from torch import nn

import mmprune
from mmprune.checkpoint.record import structure_of
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.measure.complexity import measure
from mmprune.pruners import ChannelPruner
from mmprune.registry import PRUNERS, build_part
from mmprune.surgery.structure import Structure
from tests.networks import randomise
from tests.oracles.zeroing import distance, outputs, zeroed_copy


class Net(nn.Module):
    """conv1 → conv2 → two branches that are added → flatten → fc; widths 16, 24, 20."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.body = nn.Sequential(nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.left, self.right = nn.Conv2d(24, 20, 1), nn.Conv2d(24, 20, 3, padding=1)
        self.fc = nn.Linear(20 * 4, 5)

    def forward(self, x):
        x = self.body(self.bn1(self.conv1(x)).relu())
        return self.fc(nn.functional.adaptive_avg_pool2d((self.left(x) + self.right(x)).relu(), 2).flatten(1))


@pytest.fixture
def net():
    return randomise(Net())


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def pruner(ratio=0.5, criterion='L2Norm', target=None, allocator='Uniform', **options):
    amount = dict(target=target) if target else dict(ratio=ratio)
    allocator = dict(type=allocator, **amount) if isinstance(allocator, str) else allocator
    return ChannelPruner(criterion, allocator, **options)


def widths(net, images, **options):
    plan = pruner(**options).plan(Scope.of(net, images))
    plan.apply()
    return {row.name: row.after for row in plan.rows}


def test_every_group_loses_the_ratio(net, images):
    assert widths(net, images) == {'conv1': 8, 'body.0': 12, 'left': 10, 'fc': 5}
    assert net.fc.in_features == 40 and net.right.out_channels == 10 and net.bn1.num_features == 8


def test_the_smallest_filters_go(net, images):
    norms = net.conv1.weight.flatten(1).norm(dim=1)
    kept = norms.argsort(descending=True)[:8].sort().values
    weight = net.conv1.weight.detach().clone()
    widths(net, images)
    assert torch.equal(net.conv1.weight, weight[kept])


def test_all_kept_is_the_identity(net, images):
    dense, state = outputs(net, images), copy.deepcopy(net.state_dict())
    assert widths(net, images, ratio=0.0, round_to=8) == {'conv1': 16, 'body.0': 24, 'left': 20, 'fc': 5}
    assert distance(dense, outputs(net, images)) == 0
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    assert not structure_of(net)


def test_a_plan_changes_nothing(net, images):
    state = copy.deepcopy(net.state_dict())
    net.train()
    net.conv1.weight.requires_grad_(False)
    net.bn1.eval()
    plan = pruner(order='sequential').plan(Scope.of(net, images))
    with plan.trial():
        assert net.conv1.out_channels == 8
    assert net.conv1.out_channels == 16 and net.fc.in_features == 80
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    assert net.training and not net.bn1.training and net.body.training
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ['conv1.weight']


@pytest.mark.parametrize(
    'keep, whole',
    [('conv1', {'conv1'}), (['bn1'], {'conv1'}), (['*.0'], {'body.0'}), (['right'], {'left'}), (['*'], None)],
)
def test_kept_by_pattern(net, images, keep, whole):
    if whole is None:
        with pytest.raises(ConfigError, match="nothing in .* can be pruned.*kept by pattern '\\*'"):
            widths(net, images, keep=keep)
        return
    plan = pruner(keep=keep).plan(Scope.of(net, images))
    kept = {row.name: row.reason for row in plan.rows if 'pattern' in row.reason}
    assert set(kept) == whole and repr([keep] if isinstance(keep, str) else keep)[1:-1] in ' '.join(kept.values())


def test_patterns_also_start_at_the_target(images):
    net = randomise(nn.Sequential(Net()))
    plan = pruner(keep=['conv1']).plan(Scope.of(net, images, '0'))
    assert {row.name for row in plan.rows if 'pattern' in row.reason} == {'0.conv1'}


@pytest.mark.parametrize(
    'key, options', [('keep', dict(keep=['layer9.*'])), ('overrides', dict(overrides={'layer9.*': 0.1}))]
)
def test_a_pattern_that_matches_nothing(net, images, key, options):
    with pytest.raises(
        ConfigError, match=rf"^{key}: the pattern 'layer9\.\*' matches no module; names are like conv1"
    ):
        widths(net, images, **options)


def test_overrides(net, images):
    assert widths(net, images, overrides={'conv1': 0.25, 'left': 0.0}) == {
        'conv1': 12,
        'body.0': 12,
        'left': 20,
        'fc': 5,
    }


def test_round_to(net, images):
    assert widths(net, images, ratio=0.4, round_to=8) == {'conv1': 8, 'body.0': 16, 'left': 16, 'fc': 5}


def test_round_to_leaves_narrow_layers_alone(images):
    net = randomise(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 12, 3)))
    assert widths(net, images, ratio=0.5, round_to=8) == {'0': 3, '1': 12}


def test_odd_widths_are_warned_about(net, images):
    warnings = pruner(ratio=0.4).plan(Scope.of(net, images)).warnings
    assert len(warnings) == 1
    assert all(part in warnings[0] for part in ('2 of 3 new widths', 'conv1: 9', 'pruner.round_to=8'))
    assert not pruner(ratio=0.4, round_to=8).plan(Scope.of(net, images)).warnings


def test_min_channels(net, images):
    assert widths(net, images, ratio=0.9, min_channels=4) == {'conv1': 4, 'body.0': 4, 'left': 4, 'fc': 5}


def test_a_ratio_that_empties_a_layer(net, images):
    with pytest.raises(ConfigError, match=r'^allocator\.ratio: 0\.95 leaves no channel of conv1 \(width 16\)'):
        widths(net, images, ratio=0.95)


@pytest.mark.parametrize(
    'config, message',
    [
        (
            dict(allocator=dict(type='Uniform', ratio=1.0)),
            r'^pruner\.allocator\.ratio: a number in \[0, 1\) or None, got 1\.0',
        ),
        (dict(allocator=dict(type='Uniform', ratio=-0.1)), r'in \[0, 1\) or None, got -0\.1'),
        (dict(allocator=dict(type='Uniform', ratio='half')), r"in \[0, 1\) or None, got 'half'"),
        (dict(allocator=dict(type='Uniform', target=dict(flops=1.5))), r'in \(0, 1\]'),
        (
            dict(criterion='L3Norm', allocator=dict(type='Uniform', ratio=0.5)),
            r"pruner\.criterion\.type.*'L3Norm'.*L2Norm",
        ),
        (dict(allocator=dict(type='Unifrom', ratio=0.5)), r"pruner\.allocator\.type.*'Unifrom' is unknown.*Uniform"),
        (dict(allocator=dict(ratio=0.5)), r'^pruner\.allocator\.type: missing'),
        (
            dict(allocator=dict(type='Uniform', ratio=0.5, rato=1)),
            r"^pruner\.allocator\.rato: unknown, did you mean 'ratio'",
        ),
        (dict(allocator=dict(type='Uniform', ratio=0.5), order='random'), r"pruner\.order: .*'random'"),
        (dict(allocator=dict(type='Global', ratio=0.5), order='sequential'), r"pruner\.order='sequential'.*Global"),
        (dict(allocator=dict(type='Uniform', ratio=0.5), round_to=0), r'pruner\.round_to: .*0'),
        (dict(allocator=dict(type='Uniform', ratio=0.5), min_channels=1.5), r'pruner\.min_channels: .*1\.5'),
        (dict(allocator=dict(type='Uniform', ratio=0.5), overrides={'a': 1}), r"pruner\.overrides\['a'\]"),
    ],
)
def test_mistakes_in_the_config(config, message):
    with pytest.raises(ConfigError, match=message):
        build_part(PRUNERS, dict(type='ChannelPruner', **config), 'pruner')


def test_an_unknown_target_names_the_children(net, images):
    with pytest.raises(ConfigError, match=r"target: this model has no module 'backbone'; it has conv1, bn1, body"):
        mmprune.prune(net, images, target='backbone')


def test_without_allocator_the_criterion_must_decide(net, images):
    with pytest.raises(ConfigError, match=r'^allocator: missing.*L2Norm'):
        ChannelPruner('L2Norm').plan(Scope.of(net, images))


def test_weights_that_are_not_finite(net, images):
    net.body[0].weight.data[0, 0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match='body.0'):
        pruner().plan(Scope.of(net, images))


def kept(net):
    return json.loads(structure_of(net).to_json())


@pytest.mark.parametrize('criterion', ['L2Norm', 'L1Norm', 'GeometricMedian'])
def test_sequential_is_scoring_after_slicing(net, images, criterion):
    literal = copy.deepcopy(net)
    names = ['conv1', 'body.0', 'left']
    for name in names:  # one group at a time, really sliced before the next one is scored
        widths(literal, images, criterion=criterion, keep=[other for other in names if other != name])
    dense = copy.deepcopy(net)
    widths(net, images, criterion=criterion, order='sequential')
    assert kept(net) == kept(literal)
    widths(dense, images, criterion=criterion)
    assert kept(net) != kept(dense)  # the order matters


@pytest.mark.parametrize('kind', ['flops', 'params'])
@pytest.mark.parametrize('allocator', ['Uniform', 'Global'])
@pytest.mark.parametrize('share', [0.8, 0.5, 0.3])
def test_targets_are_met_and_never_exceeded(images, kind, allocator, share):
    import torchvision

    net = randomise(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]))
    scope = Scope.of(net, torch.randn(1, 3, 64, 64))
    before = getattr(measure(scope), kind)
    widths(net, scope.example, target={kind: share}, allocator=allocator)
    assert share - 0.01 <= getattr(measure(scope), kind) / before <= share


def test_a_target_out_of_reach(net, images):
    with pytest.raises(ConfigError, match=r"^allocator\.target\['flops'\].*0\.01 cannot be reached"):
        widths(net, images, target=dict(flops=0.01), min_channels=8)
    with pytest.raises(ConfigError, match=r'^allocator\.target\.watts: unknown; known keys: flops, latency, params'):
        widths(net, images, target=dict(watts=0.5))


@pytest.mark.parametrize('cost', ['unit', 'params', 'flops'])
def test_global_by_cost(net, images, cost):
    before = measure(Scope.of(net, images))
    allocator = dict(type='Global', ratio=0.4, cost=cost)
    left = widths(net, images, allocator=allocator)
    assert sum(left.values()) < 65
    if cost == 'flops':
        assert measure(Scope.of(net, images)).flops < 0.7 * before.flops


def test_rate_distortion_on_flops(net, images):
    before = measure(Scope.of(net, images)).flops
    widths(net, images, allocator=dict(type='RateDistortion', ratio=0.4, constraint='flops'), criterion='SquaredSum')
    assert measure(Scope.of(net, images)).flops < 0.7 * before


FRACTIONS = [1 - (1 - step / 3) ** 3 for step in (1, 2, 3)]


@pytest.mark.parametrize(
    'options',
    [
        dict(ratio=0.5),
        dict(ratio=0.37),
        dict(ratio=0.5, round_to=8),
        dict(ratio=0.6, overrides={'conv1': 0.3}),
        dict(ratio=0.6, allocator='WidthDependent'),
        dict(target=dict(flops=0.4)),
        dict(target=dict(params=0.4)),
    ],
)
def test_three_cubic_steps_end_at_the_widths_of_one_shot(net, images, options):
    one_shot = widths(copy.deepcopy(net), images, **options)
    before, seen = None, []
    for fraction in FRACTIONS:
        plan = pruner(**options).plan(Scope.of(net, images), None, fraction, before)
        plan.apply()
        before = before or {row.name: row.before for row in plan.rows}
        seen.append({row.name: row.after for row in plan.rows})
    assert seen[-1] == one_shot
    assert all(a[name] >= b[name] for a, b in zip(seen, seen[1:]) for name in a)
    assert sum(seen[0].values()) > sum(seen[-1].values())


def test_steps_of_a_global_ranking(net, images):
    one_shot = sum(widths(copy.deepcopy(net), images, allocator='Global').values())
    before = None
    for fraction in FRACTIONS:
        plan = pruner(allocator='Global').plan(Scope.of(net, images), None, fraction, before)
        plan.apply()
        before = before or {row.name: row.before for row in plan.rows}
    assert sum(row.after for row in plan.rows) == one_shot


def test_pruning_a_pruned_network_again(net, images):
    dense = copy.deepcopy(net)
    widths(net, images, ratio=0.25)
    assert widths(net, images, ratio=0.5, criterion='L1Norm') == {'conv1': 6, 'body.0': 9, 'left': 7, 'fc': 5}
    structure = structure_of(net).to_json()
    assert distance(outputs(zeroed_copy(dense, structure), images), outputs(net, images)) < 1e-5
    fresh = copy.deepcopy(dense)
    Structure.from_json(structure).apply(fresh)
    fresh.load_state_dict(net.state_dict())
    assert distance(outputs(net, images), outputs(fresh, images)) == 0


def test_a_wrong_cut_leaves_the_network_whole(net, images):
    dense, state = outputs(net, images), copy.deepcopy(net.state_dict())
    plan = pruner().plan(Scope.of(net, images))
    group = next(group for group in plan.groups if group.name == 'left')
    member = group.readers[0]
    object.__setattr__(member, 'channels', member.channels.flip(0))
    with pytest.raises(RuntimeError, match='not the zeroed dense one.*left whole'):
        plan.apply()
    assert distance(dense, outputs(net, images)) == 0 and not structure_of(net)
    assert list(state) == list(net.state_dict())


def test_rounding_is_no_mistake(images, monkeypatch):
    """Deep networks amplify what float32 sums in another order differ by; in double precision it is gone."""
    net = randomise(
        nn.Sequential(nn.Conv2d(images.shape[1], 96, 3), nn.BatchNorm2d(96), nn.ReLU(), nn.Conv2d(96, 40, 3))
    )
    monkeypatch.setattr('mmprune.graph.verify.TOLERANCE', 1e-11)
    monkeypatch.setattr('mmprune.pruners.channel_plan.TOLERANCE', 1e-11)
    parameters, before = list(net.parameters()), copy.deepcopy(net.state_dict())
    plan = pruner().plan(Scope.of(net, images))
    assert all(mine is its for mine, its in zip(net.parameters(), parameters))
    assert all(
        value.dtype == before[name].dtype and torch.equal(value, before[name])
        for name, value in net.state_dict().items()
    )
    plan.apply()
    assert structure_of(net)
    assert all(value.dtype == before[name].dtype for name, value in net.state_dict().items())


class TwoInputs(nn.Module):
    """Takes tokens and an image; no mm library knows it."""

    def __init__(self):
        super().__init__()
        self.embed, self.mlp = nn.Embedding(10, 8), nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 6))
        self.conv, self.head = nn.Conv1d(4, 16, 3), nn.Conv1d(16, 6, 1)

    def forward(self, tokens, signal):
        return {'tokens': self.mlp(self.embed(tokens)), 'signal': [self.head(self.conv(signal).relu())]}


@pytest.mark.parametrize('make', [tuple, list, lambda pair: dict(zip(('tokens', 'signal'), pair))])
def test_a_plain_module_with_several_inputs(make):
    net, pair = randomise(TwoInputs()), (torch.randint(0, 10, (2, 5)), torch.randn(2, 4, 9))
    dense = copy.deepcopy(net)
    report = mmprune.prune(
        net,
        make(pair),
        pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5)),
    )
    assert net.conv.out_channels == 8 and net.mlp[0].out_features == 6
    assert report.stage('pruned').params < report.stage('dense').params
    assert report.stage('pruned').flops < report.stage('dense').flops
    judge = zeroed_copy(dense, structure_of(net).to_json())
    assert distance(outputs(judge, *pair), outputs(net, *pair)) < 1e-5


def test_a_dry_run_touches_nothing(net, images):
    state = copy.deepcopy(net.state_dict())
    report = mmprune.prune(
        net, images, dry_run=True, pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5))
    )
    assert report.stage('pruned').params < report.stage('dense').params
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())


def test_a_model_without_parameters(images):
    with pytest.raises(ConfigError, match='ReLU has no parameters'):
        mmprune.prune(nn.ReLU(), images)
