"""ExpanderPruner: counts, seeds, strictness, compat mode, any module."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import mmprune
from mmprune.errors import ConfigError
from mmprune.expanders import top_singular_values
from mmprune.expanders.sparse_layer import SparseLayer
from mmprune.graph.scope import Scope
from mmprune.pruners import ExpanderPruner
from mmprune.registry import MODELS
from mmprune.surgery.masking import masks, remove_masks, trained_masks
from tests.test_models.conftest import CONFIGS

IMAGE = torch.zeros(1, 3, 32, 32)


def make(width=16):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 24),
        nn.ReLU(),
        nn.Linear(24, 10),
    )


def prune(net, seed=0, image=IMAGE, target='', **options):
    options = {'graph': 'XNet', **({} if options.keys() & {'density', 'params'} else {'degree': 3}), **options}
    return mmprune.prune(net, image, target, dict(type='ExpanderPruner', **options), seed=seed)


def edges(net):
    return {
        name: int(mask.flatten(2).any(2).sum()) if mask.dim() > 2 else int(mask.sum())
        for name, mask in masks(net).items()
    }


def is_zero_outside(net):
    return all(not net.get_submodule(name).weight.detach()[~mask].any() for name, mask in masks(net).items())


def classifier(name, **backbone):
    init_default_scope('mmpretrain')
    config = Config.fromfile(CONFIGS / 'models' / f'{name}.py').model
    config.backbone.update(backbone)
    if backbone.get('depth', 0) >= 50:
        config.head.in_channels = 2048
    return MODELS.build(config)


# --- published counts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('degree', 'params'), [(3, 115931), (15, 523295), (30, 1032500), (60, 2050910)])
def test_published_parameters_of_vgg(degree, params):
    report = prune(classifier('vgg16_expanders_cifar'), degree=degree)
    assert report.stage('dense').params == 14986698
    assert report.stage('pruned').nonzero_params == params


def test_published_parameters_of_vgg_on_tiny_imagenet():
    net = classifier('vgg16_expanders_tiny')
    assert prune(net).stage('pruned').nonzero_params == 213401
    dense = classifier('vgg16_expanders_dense_tiny'), classifier('vgg16_expanders_dense_cifar')
    assert [sum(p.numel() for p in model.parameters()) for model in dense] == [15088392, 14990922]


@pytest.mark.parametrize(
    ('depth', 'dense', 'xnet', 'regular'),
    [
        (18, 11181642, 117066, 130046),
        (34, 21289802, 224714, 237280),
        (50, 23528522, 241226, 280377),
        pytest.param(101, 42520650, 476234, 553516, marks=pytest.mark.slow),
        pytest.param(152, 58164298, 683594, 794463, marks=pytest.mark.slow),
    ],
)
def test_published_parameters_of_resnets(depth, dense, xnet, regular):
    net = classifier('resnet_expanders_cifar', depth=depth)
    report = prune(copy.deepcopy(net), dense_stem=True)
    assert (report.stage('dense').params, report.stage('pruned').nonzero_params) == (dense, xnet)
    report = prune(net, dense_stem=True, graph=dict(type='RandomRegular', collapse=True))
    assert report.stage('pruned').nonzero_params == pytest.approx(regular, rel=2e-3)  # the published one is one draw


def test_published_parameters_on_tiny_imagenet():
    report = prune(classifier('resnet_expanders_tiny'), dense_stem=True)
    assert (report.stage('dense').params, report.stage('pruned').nonzero_params) == (11279112, 214536)


@pytest.mark.parametrize(
    ('degree', 'collapsed', 'nominal'), [(3, 128864, 129674), (15, 571507, None), (60, 2080880, None)]
)
def test_published_parameters_of_regular_graphs(degree, collapsed, nominal):
    net = classifier('vgg16_expanders_cifar')
    report = prune(copy.deepcopy(net), graph=dict(type='RandomRegular', collapse=True), degree=degree)
    assert report.stage('pruned').nonzero_params == pytest.approx(collapsed, rel=1e-3)
    if nominal:
        assert prune(net, graph='RandomRegular').stage('pruned').nonzero_params == nominal


def test_published_parameters_of_random_graphs():
    net = classifier('vgg16_expanders_cifar')
    counts = [prune(copy.deepcopy(net), graph='Random', seed=s).stage('pruned').nonzero_params for s in range(3)]
    assert all(count == pytest.approx(115931, rel=0.02) for count in counts) and len(set(counts)) == 3


# --- amounts ---------------------------------------------------------------------------------------------------------


def test_models_with_the_same_side_have_the_same_edges():
    found = []
    for graph in ('RandomRegular', 'XNet', dict(type='Random', exact=True)):
        prune(net := make(), graph=graph, degree_side='max')
        found.append(edges(net))
    assert found[0] == found[1] == found[2] == {'0': 48, '3': 96, '8': 96}


@pytest.mark.parametrize(
    ('side', 'expected'), [('left', [9, 48, 96]), ('right', [48, 96, 72]), ('max', [48, 96, 96]), ('min', [9, 48, 72])]
)
def test_sides(side, expected):
    prune(net := make(), degree_side=side)
    assert list(edges(net).values()) == expected


def test_density():
    prune(net := make(), density=0.25)
    assert edges(net) == {'0': 12, '3': 128, '8': 192}
    report = prune(net := make(), density=1)
    assert report.stage('pruned').nonzero_params == report.stage('dense').params and not report.warnings


@pytest.mark.parametrize('graph', ['RandomRegular', 'XNet'])
@pytest.mark.parametrize('params', [700, 1500, 3000, 0.5])
def test_a_budget_is_met_and_used(graph, params):
    report = prune(net := make(), graph=graph, params=params)
    budget = params if params > 1 else int(params * report.stage('dense').params)
    assert budget - 9 < report.stage('pruned').nonzero_params <= budget
    assert all(edges(net).values())


def test_overrides():
    prune(net := make(), overrides={'3': 7})
    assert edges(net) == {'0': 9, '3': 112, '8': 96}


def test_what_stays_dense():
    report = prune(net := make(), dense_stem=True, keep=['3'])
    assert set(masks(net)) == {'8'}
    reasons = {row.name: row.reason for row in report.layers}
    assert 'stem' in reasons['0'] and 'kept by pattern' in reasons['3'] and 'head' in reasons['10']
    assert prune(net := make(), dense_head=False).layers and '10' in masks(net)


def test_grouped_transposed_and_one_dimensional_convs():
    net = nn.Sequential(
        nn.Conv1d(8, 16, 3, groups=2),
        nn.ConvTranspose1d(16, 12, 2, groups=4),
        nn.Conv1d(12, 12, 3, groups=12),
        nn.Conv1d(12, 6, 1),
    )
    report = prune(net, image=torch.zeros(1, 8, 9), degree=2)
    found = masks(net)
    for name, module in list(net.named_children())[:2]:
        layer = SparseLayer.of(name, module)
        graphs = layer.graphs(found[name])
        assert [g.shape for g in graphs] == [(layer.inputs, layer.outputs)] * layer.groups
        assert all((g.sum(axis=1) == 2).all() for g in graphs)
        assert torch.equal(layer.mask(graphs), found[name])
        assert len({g.tobytes() for g in graphs}) > 1
    assert '2' not in found and report.layers[-1].reason == 'every output reads one input only'


@pytest.mark.slow
def test_a_detectors_backbone():
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS.parent / 'expanders' / 'retinanet_r18_fpn_xnet-d6_bccd.py')
    net, settings = MODELS.build(cfg.model), cfg.pruning
    report = mmprune.prune(net, torch.zeros(1, 3, 96, 96), settings.target, settings.pruner)
    assert all(name.startswith('backbone.layer') for name in masks(net)) and len(masks(net)) == 19
    assert all(
        (graph.sum(axis=1) == 6).all()
        for name, mask in masks(net).items()
        for graph in SparseLayer.of(name, net.get_submodule(name)).graphs(mask)
    )
    assert [row.reason for row in report.layers if row.name == 'backbone.conv1'] == ['the stem (dense_stem=True)']


def test_earlier_masks_only_shrink():
    prune(net := make(), degree=6)
    first = {name: mask.clone() for name, mask in masks(net).items()}
    prune(net, degree=6, seed=1)
    assert all(not (mask & ~first[name]).any() for name, mask in masks(net).items())


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_a_layer_does_not_care_about_others():
    prune(net := make()), prune(other := make(), keep=['0'])
    assert torch.equal(masks(net)['3'], masks(other)['3'])
    torch.rand(7)
    prune(again := make()), prune(new := make(), seed=1), prune(fixed := make(), seed=1, select=None)
    assert all(torch.equal(mask, masks(again)[name]) for name, mask in masks(net).items())
    assert not torch.equal(masks(net)['3'], masks(new)['3']) and torch.equal(masks(new)['3'], masks(fixed)['3'])


def test_graphs_are_shared_by_shape_only_on_request():
    def twins(shared):
        net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3))
        prune(net, shared=shared)
        return torch.equal(masks(net)['1'], masks(net)['2'])

    assert twins(True) and not twins(False)


SCRIPT = """
import hashlib, json, torch, mmprune
from tests.test_pruners.test_expander import make, prune
from mmprune.surgery.masking import masks
found = {}
for graph in ('Random', 'XNet', 'RandomRegular'):
    prune(net := make(), graph=graph, seed=5, select=dict(by='expansion', candidates=4, samples=50))
    found |= {f'{graph} {n}': hashlib.sha256(m.numpy().tobytes()).hexdigest() for n, m in masks(net).items()}
print('found ' + json.dumps(found))
"""


@pytest.mark.slow
def test_graphs_are_the_same_in_every_process():
    outputs = [
        subprocess.run(
            [sys.executable, '-c', SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env={'PYTHONHASHSEED': str(seed), 'PYTHONPATH': '.', 'OMP_NUM_THREADS': str(seed)},
            cwd=CONFIGS.parents[1],
        ).stdout
        for seed in (1, 2)
    ]
    found = [json.loads(output[output.index('found ') + 6 :]) for output in outputs]
    assert found[0] == found[1] and len(set(found[0].values())) == 9


def test_selection_improves_the_spectrum():
    def sigma2(select):
        prune(net := make(), graph='RandomRegular', select=select)
        (graph,) = SparseLayer.of('3', net[3]).graphs(masks(net)['3'])
        return top_singular_values(graph)[1]

    assert sigma2(dict(by='sigma2', candidates=20)) < sigma2(None)


# --- strictness ------------------------------------------------------------------------------------------------------


def step(net, optimizer, autocast=False):
    optimizer.zero_grad()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        loss = net(torch.randn(8, 3, 32, 32)).float().square().mean()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize('autocast', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize(
    'optimizer',
    [
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    ],
    ids=['sgd', 'adamw'],
)
def test_zero_outside_at_every_step(autocast, optimizer):
    prune(net := make())
    optimizer, average = (
        optimizer(net.parameters()),
        torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)),
    )
    before = net[3].weight.detach().clone()
    for _ in range(4):
        step(net, optimizer, autocast)
        average.update_parameters(net)
        assert is_zero_outside(net) and is_zero_outside(average.module)
        assert all(not net.state_dict()[f'{name}.weight'][~mask].any() for name, mask in masks(net).items())
    assert (net[3].weight != before)[masks(net)['3']].all()


def test_export_is_exact_and_dead_channels_go():
    prune(net := make(32), degree=2)
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(4):
        step(net, optimizer)
    images = torch.randn(4, 3, 32, 32)
    net.eval()
    with torch.no_grad():
        expected = net(images)
        report = mmprune.prune(net, images, pruner=dict(type='ChannelPruner', criterion='DeadChannels'), restorer=None)
        assert torch.allclose(net(images), expected, atol=1e-6)
    sizes = {row.name: row.after for row in report.layers}
    assert sizes['0'] <= 6 and sizes['3'] < 64  # three inputs choose two outputs each
    remove_masks(net)
    with torch.no_grad():
        assert torch.allclose(net(images), expected, atol=1e-6)
    assert not masks(net) and report.stage('pruned').params < report.stage('dense').params


def test_a_constant_that_is_felt_stays():
    """A channel without inputs whose norm makes it positive is no zero: nothing may be removed."""
    prune(net := make(32), degree=2)
    net.eval()
    for norm in (net[1], net[4]):
        norm.bias.data.fill_(0.5)
    report = mmprune.prune(
        net, torch.randn(2, 3, 32, 32), restorer=None, pruner=dict(type='ChannelPruner', criterion='DeadChannels')
    )
    unread = int((masks(net)['3'].flatten(2).any(2).sum(0) == 0).sum())
    assert [row.after for row in report.layers if row.name == '0'] == [32 - unread]


# --- compat ----------------------------------------------------------------------------------------------------------


def test_frozen_outside_is_the_published_training():
    torch.manual_seed(3)
    net = make()
    before = net[3].weight.detach().clone()
    report = prune(net, compat='frozen-outside')
    assert torch.equal(net[3].weight, before) and not masks(net)
    assert report.stage('pruned').nonzero_params == report.stage('dense').params
    assert any('frozen' in warning for warning in report.warnings)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    step(net, optimizer)
    inside = trained_masks(net)['3']
    assert torch.equal(net[3].weight[~inside], before[~inside]) and (net[3].weight != before)[inside].any()


def test_frozen_outside_travels_in_checkpoints(tmp_path):
    prune(net := make(), compat='frozen-outside')
    mmprune.save(net, tmp_path / 'net.pth')
    other = mmprune.load(make(), tmp_path / 'net.pth')
    assert torch.equal(trained_masks(other)['3'], trained_masks(net)['3'])
    before = other[3].weight.detach().clone()
    step(other, torch.optim.SGD(other.parameters(), 0.1))
    assert torch.equal(other[3].weight[~trained_masks(other)['3']], before[~trained_masks(other)['3']])
    remove_masks(other)
    assert not trained_masks(other) and set(other.state_dict()) == set(make().state_dict())


#: From the specification: schedule, images, batch size, and what is left of a weight outside after so many epochs.
DECAY = [
    ('expanders_vgg_300e', 50000, 128, {1: 0.908, 10: 0.376, 30: 0.053}),
    ('expanders_vgg_300e', 100000, 1024, {1: 0.978, 10: 0.784, 30: 0.480, 60: 0.332, 100: 0.268}),
    ('expanders_resnet_300e', 50000, 1024, {1: 0.996, 10: 0.953, 30: 0.864, 60: 0.803, 100: 0.769, 300: 0.746}),
    ('expanders_resnet_300e', 100000, 128, {1: 0.926, 10: 0.458}),
]


@pytest.mark.slow
@pytest.mark.parametrize(('schedule', 'images', 'batch', 'expected'), DECAY)
def test_published_decay(schedule, images, batch, expected):
    config = Config.fromfile(CONFIGS / 'schedules' / f'{schedule}.py')
    net = nn.Linear(2, 2, bias=False)
    net = nn.Sequential(net)
    nn.init.ones_(net[0].weight)
    prune(net, image=torch.zeros(1, 2), density=0.5, dense_head=False, compat='frozen-outside')
    options = {key: value for key, value in config.optim_wrapper.optimizer.items() if key != 'type'}
    optimizer = torch.optim.SGD(net.parameters(), **options)
    milestones, steps = config.param_scheduler.milestones, images // batch + (images % batch > 0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, config.param_scheduler.gamma)
    outside, found, image = ~trained_masks(net)['0'], {}, torch.ones(1, 2)
    for epoch in range(1, max(expected) + 1):
        for _ in range(steps):
            optimizer.zero_grad()
            net(image).square().sum().backward()
            optimizer.step()
        scheduler.step()
        if epoch in expected:
            found[epoch] = net[0].weight.detach()[outside].mean().item()
    assert found == pytest.approx(expected, abs=0.0015)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(degree=None), r'pruner: give exactly one of `degree`.*got none'),
        (dict(degree=3, density=0.1), r'exactly one of .*got degree, density'),
        (dict(degree=0), r'pruner\.degree: a number above 0 or None, got 0'),
        (dict(degree=True), r'pruner\.degree: a number above 0'),
        (dict(density=1.5), r'pruner\.density: a number in \(0, 1\] or None, got 1\.5'),
        (dict(params=10.5), r'pruner\.params: a whole number'),
        (dict(degree_side='both'), r"pruner\.degree_side: 'left', 'right', 'max', 'min' or None, got 'both'"),
        (dict(graph='Xnet'), r"pruner\.graph\.type: graph 'Xnet' is unknown, did you mean 'XNet'"),
        (
            dict(graph=dict(type='XNet', chooser='outputs')),
            r"pruner\.graph\.chooser: 'inputs' or 'smaller', got 'outputs'",
        ),
        (dict(compat='published'), r"pruner\.compat: 'frozen-outside' or None"),
        (dict(select='gap'), r"pruner\.select: 'expansion', 'sigma2', .*got 'gap'"),
        (dict(select=dict(by='gap')), r"pruner\.select\.by: 'expansion' or 'sigma2', got 'gap'"),
        (dict(select=dict(best=3)), r'pruner\.select\.best: unknown; known keys: by, '),
        (dict(overrides={'0': -1}), r"pruner\.overrides\['0'\]: a number above 0"),
        (dict(overrides={'conv9': 3}), r"pruner\.overrides: the pattern 'conv9' matches no module"),
        (dict(keep=['nothing']), r"pruner\.keep: the pattern 'nothing' matches no module"),
        (dict(keep=['*']), 'target: no conv or linear layer'),
        (
            dict(params=100),
            r'pruner\.params: 100, of which \d+ are biases, norms and dense layers; .* one edge per layer',
        ),
        (dict(seed=-1), r'pruner\.seed'),
    ],
)
def test_mistakes(options, message):
    options = {
        'graph': 'XNet',
        **({} if options.keys() & {'density', 'params', 'degree'} else {'degree': 3}),
        **options,
    }
    with pytest.raises(ConfigError, match=message):
        mmprune.prune(make(), IMAGE, pruner=dict(type='ExpanderPruner', **options))


def test_no_steps():
    with pytest.raises(ConfigError, match='^schedule: ExpanderPruner draws its graphs once'):
        ExpanderPruner('XNet', degree=3).plan(Scope.of(make(), IMAGE), fraction=0.5)


def test_a_degree_beyond_everything_warns():
    report = prune(make(), degree=1000)
    assert any('every graph is complete' in warning for warning in report.warnings)
    assert np.isclose(report.stage('pruned').nonzero_params, report.stage('dense').params)
