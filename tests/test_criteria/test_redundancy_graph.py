import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import mmprune
from mmprune.criteria import RedundancyGraph
from mmprune.criteria.redundancy import voting_members
from mmprune.errors import ConfigError
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.images import GaussianNoise, as_source
from mmprune.models import CIFARVGG, CIFARDenseNet, CIFARResNet
from tests.oracles import redundancy_graph as literal
from tests.ranks import in_ranks
from tests.test_criteria.fake_group import make_group


class Net(nn.Module):
    """Two convs with twins among their filters, pooled, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.hidden, self.head = nn.Linear(16, 8), nn.Linear(8, 4)
        with torch.no_grad():
            for conv, pairs in ((self.features[0], [(1, 0), (2, 0), (7, 5)]), (self.features[3], [(4, 3), (9, 8)])):
                for copied, source in pairs:
                    conv.weight[copied] = 0.9 * conv.weight[source]
                    if conv.bias is not None:
                        conv.bias[copied] = 0.9 * conv.bias[source]

    def forward(self, x):
        return self.head(self.hidden(self.features(x).mean(dim=(2, 3))).relu())


def prepared(model, images=None, size=16, **options):
    criterion = RedundancyGraph(**options)
    example = torch.zeros(1, 3, size, size)
    scope = Scope.of(model, example)
    groups = [g for g in find_groups(model, scope.forward, example, scope.targets) if g.prunable]
    with tracing_mode(model):
        criterion.prepare(groups, scope.forward, criterion.images_for(example, as_source(images)))
    return criterion, groups


def prune(model, images=None, size=16, **criterion):
    pruner = dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', **criterion))
    return mmprune.prune(model, torch.zeros(1, 3, size, size), pruner=pruner, restorer=None, images=images)


@pytest.mark.parametrize('dc', [True, False])
def test_similarity_and_kept_units_are_the_literal_ones_on_a_network(dc):
    model, images = Net().eval(), torch.randn(6, 3, 16, 16)
    criterion, groups = prepared(model, images.split(4), dc=dc, threshold=0.65)
    with torch.no_grad():
        maps = {groups[0].name: model.features[0](images), groups[1].name: model.features[:4](images)}
    for group in groups[:2]:
        expected = literal.similarity(maps[group.name].double().numpy(), dc=dc)
        assert np.abs(criterion.similarity(group.name) - expected).max() < 1e-3  # one bit of 384
        l1 = group.weights()[0].abs().sum(dim=1).numpy()
        assert criterion.select(group).tolist() == literal.decompose(criterion.similarity(group.name), 0.65, l1)


@pytest.mark.parametrize('inputs', [None, 'noise', 'pink', 'weights', dict(type='PinkNoise', gray=0.5)])
def test_twins_go_and_the_stronger_filter_stays_whatever_the_images(inputs):
    model = Net()
    criterion, groups = prepared(model, inputs=inputs, threshold=0.97)
    assert criterion.select(groups[0]).tolist() == [0, 3, 4, 5, 6, 8, 9, 10, 11]
    assert criterion.select(groups[1]).tolist() == [n for n in range(16) if n not in (4, 9)]


def test_pruning_any_module_needs_no_images_and_no_allocator():
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = prune(model, threshold=0.97)
    assert [row.after for row in report.layers] == [9, 14, 8, 4]
    assert torch.equal(model.features[1].running_var, before['features.1.running_var'][[0, 3, 4, 5, 6, 8, 9, 10, 11]])
    assert model.training
    assert report.stages[1].params < report.stages[0].params


def test_vectors_and_single_pixels_stay_whole_and_the_report_says_why():
    report = prune(Net(), threshold=0.97)
    hidden = next(row for row in report.layers if row.name == 'hidden')
    assert hidden.before == hidden.after
    assert 'no feature maps' in hidden.reason

    class Pooled(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1))

    for inputs in ('noise', 'weights'):
        report = prune(Pooled(), threshold=0.3, inputs=inputs)
        row = next(row for row in report.layers if row.name == '2')
        assert row.after == 6 and '1×1' in row.reason
        assert report.layers[0].after < 8


def test_maps_need_not_be_square():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3))
    report = mmprune.prune(
        model,
        torch.zeros(1, 3, 5, 40),
        pruner=dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', threshold=0.5)),
    )
    assert 0 < report.layers[0].after < 8


def test_published_threshold_is_the_default():
    assert RedundancyGraph().threshold == 0.7


@pytest.mark.parametrize('depth', [20])
@pytest.mark.parametrize(('shortcut', 'pre_relu'), [('conv3x3', False), ('conv1x1', True)])
def test_the_lead_of_a_residual_stream_is_the_stem_or_the_shortcut(depth, shortcut, pre_relu):
    model = CIFARResNet(depth, shortcut=shortcut, pre_relu=pre_relu)
    example = torch.zeros(1, 3, 32, 32)
    groups = find_groups(model, model, example, [''], prune_interface=True)
    leads = {member.name for members in voting_members(groups, lead_only=True).values() for member in members}
    inner = {f'layer{s}.{b}.conv1' for s in (1, 2, 3) for b in range(3)}
    assert leads == inner | {'conv1', 'layer2.0.downsample.0', 'layer3.0.downsample.0'}


def test_all_members_of_a_group_vote_unless_only_the_lead_does():
    model = CIFARResNet(20, shortcut='conv3x3')
    images = [torch.randn(8, 3, 32, 32)]
    found = {}
    for reduce in ('lead', 'mean', 'max', 'min'):
        criterion, groups = prepared(model, images, 32, group_reduce=reduce)
        found[reduce] = criterion.similarity(groups[0].name)
    assert len(groups[0].producers) == 4
    assert (found['min'] <= found['mean']).all() and (found['mean'] <= found['max']).all()
    assert (found['min'] <= found['lead']).all() and (found['lead'] <= found['max']).all()
    assert np.abs(found['mean'] - found['lead']).max() > 0.01


class Classifier(nn.Module):
    def __init__(self, backbone, width):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.backbone(x)[-1].mean(dim=(2, 3)))


@pytest.mark.parametrize(('backbone', 'width', 'graphs'), [(CIFARDenseNet, 456, 39), (CIFARVGG, 512, 13)])
def test_every_conv_of_densenet_40_and_vgg_16_has_its_own_graph(backbone, width, graphs):
    criterion, groups = prepared(Classifier(backbone(), width), size=32, threshold=0.6, num_images=2)
    assert len(groups) == graphs
    assert all(criterion.similarity(g.name) is not None and criterion.select(g).numel() for g in groups)


@pytest.mark.parametrize('kind', ['flops', 'params', 'ratio'])
def test_targets_are_met_and_used(kind):
    torch.manual_seed(0)
    model = CIFARVGG(widths=[8, 8, 16, 16, 16, 16, 16, 24, 24, 24, 24, 24, 24])
    share = 0.6 if kind != 'ratio' else 0.4
    report = prune(model, size=32, target={kind: share})
    dense, pruned = report.stages
    left = dict(
        flops=pruned.flops / dense.flops,
        params=pruned.params / dense.params,
        ratio=sum(r.after for r in report.layers[:-1]) / sum(r.before for r in report.layers[:-1]),
    )[kind]
    assert 0.55 < left <= 0.6 + 1e-9


def test_an_unreachable_target_says_so():
    with pytest.raises(ConfigError, match=r"target\['params'\].*at least"):
        prune(Net(), target=dict(params=0.01))


def test_rounding_and_minimum_widths_of_the_pruner_apply():
    for options, widths in ((dict(round_to=4), {8, 12, 16}), (dict(min_channels=11), {11, 14})):
        model = Net()
        report = mmprune.prune(
            model,
            torch.zeros(1, 3, 16, 16),
            pruner=dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', threshold=0.97), **options),
        )
        assert {row.after for row in report.layers[:2]} <= widths


def test_with_an_allocator_the_most_similar_filters_go_first():
    model = Net()
    criterion, groups = prepared(model, threshold=0.9)
    scores = criterion.scores(groups[0])
    assert set(scores.argsort()[:3].tolist()) == {1, 2, 7}
    assert len(set(scores.tolist())) == 12
    report = mmprune.prune(
        model,
        torch.zeros(1, 3, 16, 16),
        pruner=dict(type='ChannelPruner', criterion='RedundancyGraph', allocator=dict(type='Uniform', ratio=0.25)),
    )
    assert [row.after for row in report.layers[:3]] == [9, 12, 6]


def test_without_a_hash_scores_are_ordered_by_l1_norm_above_all_others():
    criterion, groups = prepared(Net())
    hidden = next(group for group in groups if group.name == 'hidden')
    scores = criterion.scores(hidden)
    assert scores.min() > 1
    assert torch.equal(scores.argsort(), hidden.weights()[0].abs().sum(dim=1).argsort())


def test_a_saved_choice_is_made_again_without_images(tmp_path):
    path = tmp_path / 'information.json'
    model = Net()
    first, second, third = (copy.deepcopy(model) for _ in range(3))
    prune(first, threshold=0.6, save_structure=str(path))
    content = json.loads(path.read_text())
    assert content['version'] == 1 and content['threshold'] == 0.6
    assert content['groups']['features.0'].keys() == {'layers', 'total', 'kept', 'order'}
    prune(second, structure=str(path))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    uniform = dict(type='Uniform', ratio=0.25)
    report = mmprune.prune(
        third,
        torch.zeros(1, 3, 16, 16),
        pruner=dict(
            type='ChannelPruner', criterion=dict(type='RedundancyGraph', structure=str(path)), allocator=uniform
        ),
    )
    assert report.layers[0].after == 9


def test_a_saved_choice_for_another_network_is_refused(tmp_path):
    path = tmp_path / 'information.json'
    prune(Net(), threshold=0.6, save_structure=str(path))
    with pytest.raises(ConfigError, match='no group'):
        prune(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), structure=str(path))
    content = json.loads(path.read_text())
    content['groups']['features.0']['kept'] = [3, 2]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='"kept" of features.0'):
        RedundancyGraph(structure=str(path))
    path.write_text('[]')
    with pytest.raises(ValueError, match='no pruning information'):
        RedundancyGraph(structure=str(path))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(threshold=1.2), 'threshold'),
        (dict(threshold=0.7, target=dict(flops=0.5)), 'not both'),
        (
            dict(target=dict(latency=0.5)),
            r'^pruner\.criterion\.target\.latency: unknown; known keys: flops, params, ratio',
        ),
        (dict(target=dict(flops=0)), r'^pruner\.criterion\.target\.flops: a number in'),
        (dict(target=0.5), r'^pruner\.criterion\.target: '),
        (dict(group_reduce='sum'), 'group_reduce'),
        (dict(inputs='photos'), 'inputs'),
        (dict(num_images=0), 'num_images'),
        (dict(hash_size=1), 'hash_size'),
        (dict(structure='nowhere.json'), 'no file nowhere.json'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        mmprune.registry.build_part(
            mmprune.registry.CRITERIA, dict(type='RedundancyGraph', **arguments), 'pruner.criterion'
        )


def test_real_images_must_be_given():
    with pytest.raises(ConfigError, match="inputs='real'"):
        prune(Net(), inputs='real')


def test_only_the_wanted_number_of_images_is_looked_at():
    seen = []
    model = Net()
    model.features[0].register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    criterion, _ = prepared(model, [torch.randn(30, 3, 16, 16)] * 4, num_images=70)
    assert seen[-5:] == [15, 15, 15, 15, 10]


def test_running_statistics_never_move():
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    prepared(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_alone_are_right_for_a_first_layer():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 4, 3))
    measured, groups = prepared(model, [torch.randn(300, 3, 32, 32)], 32, num_images=300)
    expected, _ = prepared(model, size=32, inputs='weights')
    upper = np.triu_indices(24, 1)
    nn.init.zeros_(model[0].bias)
    unbiased, _ = prepared(model, [torch.randn(300, 3, 32, 32)], 32, num_images=300)
    a, b = unbiased.similarity('0')[upper], expected.similarity('0')[upper]
    assert np.corrcoef(a, b)[0, 1] > 0.99 and np.sqrt(np.mean((a - b) ** 2)) < 0.015
    biased = np.sqrt(np.mean((measured.similarity('0')[upper] - b) ** 2))
    assert biased > 0.03  # a bias is not in the formula


def test_channels_of_a_unit_count_together():
    group = make_group(nn.Conv2d(3, 8, 3), per_unit=2)
    assert voting_members([_with_readers(group)], lead_only=True) == {'conv': [group.producers[0]]}


def _with_readers(group):
    group.readers = ()
    return group


def _similarity() -> np.ndarray:
    torch.manual_seed(0)
    model = Net().eval()
    criterion, groups = prepared(model, GaussianNoise(50, (3, 16, 16), batch_size=7), num_images=45)
    return np.concatenate([criterion.similarity(group.name).flatten() for group in groups[:2]])


def _save_similarity(folder: Path) -> None:
    np.save(folder / f'{torch.distributed.get_rank()}.npy', _similarity())


@pytest.mark.parametrize('world', [2, 4])
def test_ranks_give_the_bits_of_one(tmp_path, world):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = _similarity()
    torch.set_num_threads(threads)
    in_ranks(partial(_save_similarity, tmp_path), world, tmp_path)
    assert all(np.array_equal(one, np.load(tmp_path / f'{rank}.npy')) for rank in range(world))


@pytest.mark.parametrize(
    ('name', 'options'), [('mobilenet_v2', {}), ('googlenet', dict(aux_logits=False, init_weights=False))]
)
def test_networks_of_every_kind_lose_filters(name, options):
    model = getattr(torchvision.models, name)(num_classes=10, **options)
    report = prune(model, size=64, threshold=0.55, num_images=4)
    assert sum(row.after < row.before for row in report.layers) > len(report.layers) / 2
    assert {row.reason for row in report.layers if row.after == row.before} <= {
        'is an output of the network', 'nothing to remove at this ratio'}  # fmt: skip
