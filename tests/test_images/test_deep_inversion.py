import copy
import json
import math
from collections import Counter

import pytest
import torch
from torch import nn

from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.images import DeepInversion, ImageStore
from mmprune.images.image_loss import differences, move
from mmprune.images.inverted_network import InvertedNetwork, StatisticsDistance
from mmprune.images.phase import Phase
from mmprune.registry import SYNTHESIZERS, build_part
from tests.oracles import deep_inversion as oracle
from tests.test_images.small import SHAPE, Classifier, Detector, Features, quick, scope_of, trained

WEIGHTS = dict(main_weight=0.7, bn_weight=3.0, first_bn_multiplier=2.0, tv1_weight=0.3, tv2_weight=0.02, l2_weight=0.1)
BOUNDS = [-1.5, -1.4, -1.3], [1.3, 1.4, 1.5]


def steps_both_ways(count, dtype, norm='batch', labels=True, downscale=2):
    """Images before, after ours and after the literal steps; losses of each; the literal gradient of the last."""
    ours, theirs = (trained(Classifier()).eval().to(dtype) for _ in range(2))
    synthesizer = DeepInversion(**WEIGHTS, l2_norm=norm)
    phase, moves = Phase(count, downscale, jitter=3), torch.Generator().manual_seed(1)
    x = torch.randn(8, *SHAPE, dtype=dtype).clamp(-1.2, 1.2)
    a, b = (x.clone().requires_grad_() for _ in range(2))
    adams = [torch.optim.Adam([image], lr=0.05, betas=(0.5, 0.9)) for image in (a, b)]
    wanted = torch.arange(8) % 4 if labels else None
    bounds = [torch.tensor(end, dtype=dtype).view(-1, 1, 1) for end in BOUNDS]
    network = InvertedNetwork(Scope.of(ours, x[:1]))
    renamed = {'main': 0.7, 'bn': 3.0, 'first_bn': 2.0, 'tv1': 0.3, 'tv2': 0.02, 'l2': 0.1, 'l2_norm': norm}
    with network.fixed():
        for _ in range(count):
            moved = phase.draw(True, moves)
            mine = synthesizer.step(network, a, wanted, adams[0], moved, bounds)
            literal = oracle.step(
                theirs, theirs, b, wanted, adams[1], **moved, low=BOUNDS[0], high=BOUNDS[1], **renamed
            )
    return x, a.detach(), b.detach(), mine, literal, b.grad


@pytest.mark.parametrize(
    ('norm', 'labels', 'downscale'), [('batch', True, 1), ('image', True, 2), ('image', False, 1)]
)
def test_a_step_is_the_literal_one_in_float32(norm, labels, downscale):
    before, a, b, mine, literal, gradient = steps_both_ways(1, torch.float32, norm, labels, downscale)
    assert mine.keys() == literal.keys()
    for key, value in literal.items():
        assert mine[key] == pytest.approx(value.item(), rel=1e-5), key
    # Adam's first step is the sign of the gradient: undecided where that is nothing but rounding
    sure = gradient.abs() > 1e-5 * gradient.abs().max()
    assert sure.double().mean() > 0.999
    assert (a - b)[sure].abs().max() < 1e-5
    assert (b - before).abs().max() > 0.04


@pytest.mark.parametrize('norm', ['batch', 'image'])
def test_many_steps_are_the_literal_ones_in_float64(norm):
    _, a, b, mine, literal, _ = steps_both_ways(8, torch.float64, norm)
    assert (a - b).abs().max() < 1e-6  # Adam magnifies the rounding of small gradients
    assert mine['total'] == pytest.approx(literal['total'].item(), rel=1e-9)


def test_no_distance_when_the_batch_has_the_statistics_remembered():
    x = torch.randn(16, 5, 6, 6, dtype=torch.float64) * 3 + 1
    x.requires_grad_()
    mean, var = x.detach().mean(dim=(0, 2, 3)), x.detach().var(dim=(0, 2, 3), correction=0)
    distance = StatisticsDistance.apply(x, mean, var)
    assert distance < 1e-12
    distance.backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize('shape', [(7, 3), (7, 3, 5), (7, 3, 5, 4), (2, 3, 4, 3, 2)])
def test_the_gradient_of_the_distance_is_right_for_inputs_of_any_rank(shape):
    mean, var = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.5
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: StatisticsDistance.apply(images, mean, var), x)


def test_a_constant_image_has_no_variation_and_a_finite_gradient():
    image = torch.full((2, 3, 5, 6), 0.7, requires_grad=True)
    loss = quick(bn_weight=0, tv1_weight=1, tv2_weight=1).loss
    network = InvertedNetwork(scope_of(trained(Features())))
    with network.fixed():
        terms = loss(network, image, None)
    assert terms['tv1'] == terms['tv2'] == 0
    terms['total'].backward()
    assert not image.grad.any()
    assert [tuple(gap.shape[2:]) for gap in differences(image)] == [(5, 5), (4, 6), (4, 5), (4, 5)]


def test_a_term_of_ten_million_is_left_out():
    model = trained(Features())
    model[4].running_mean[0] = 1e8
    network, loss = InvertedNetwork(scope_of(model)), quick(tv2_weight=0).loss
    x = torch.randn(8, *SHAPE, requires_grad=True)
    with network.fixed():
        terms = loss(network, x, None)
        _, distances = network(x)
    assert distances[1] > 9e7
    assert terms['bn'] == distances[0]
    literal = oracle.losses(model.eval(), model, x, None, 0, 10, 1, 0, 0, 0, 'batch')
    assert terms['bn'].item() == pytest.approx(literal['bn'].item(), rel=1e-5)


def test_moves_are_pooling_then_rolling_then_mirroring():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    assert move(image, 2, (0, 0), False).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert move(image, 2, (1, 0), False).flatten().tolist() == [10.5, 12.5, 2.5, 4.5]
    assert move(image, 2, (1, 0), True).flatten().tolist() == [12.5, 10.5, 4.5, 2.5]


def test_shifts_are_uniform_in_both_directions_and_half_of_the_batches_are_mirrored():
    generator, phase = torch.Generator().manual_seed(0), Phase(1, jitter=2)
    draws = [phase.draw(True, generator) for _ in range(1000)]
    for axis in (0, 1):
        counts = Counter(draw['roll'][axis] for draw in draws)
        assert sorted(counts) == [-2, -1, 0, 1, 2]
        assert min(counts.values()) > 140
    assert 420 < sum(draw['flip'] for draw in draws) < 580
    assert not any(phase.draw(False, generator)['flip'] for _ in range(20))


@pytest.mark.parametrize(
    ('batch_size', 'classes', 'batches'), [(256, 10, 50), (256, 100, 7), (16, 20, 9), (8, 1000, 3)]
)
def test_labels_go_round_as_published(batch_size, classes, batches):
    synthesizer = DeepInversion(batch_size=batch_size)
    wanted = oracle.rota(batch_size, classes, batches)
    labels = [synthesizer.labels(index, classes).tolist() for index in range(batches)]
    assert [sorted(batch) for batch in labels] == [sorted(batch) for batch in wanted]
    counts = Counter(label for batch in labels for label in batch)
    assert all(abs(counts[label] - batch_size * batches / classes) <= 1 for label in range(classes))
    if (batch_size, classes) == (256, 10):
        assert set(counts.values()) == {1280}


def test_the_step_size_follows_the_published_schedule():
    synthesizer = DeepInversion()
    for iteration in (0, 50, 99, 100, 101, 1000, 1999):
        expected = oracle.learning_rate(0.1, iteration, 2000, 100)
        assert synthesizer.lr_at(iteration, 2000) == pytest.approx(expected)
    assert {DeepInversion(lr_schedule='constant').lr_at(i, 10) for i in range(10)} == {0.1}
    assert all(0 < DeepInversion().lr_at(i, 20) <= 0.1 for i in range(20))  # shorter than the warm-up


def test_inversion_comes_near_to_the_statistics_and_to_the_classes(tmp_path):
    model = trained(Classifier())
    scope = scope_of(model)
    store = quick(
        num_images=32,
        batch_size=32,
        phases=[dict(iterations=150, jitter=1)],
        warmup=10,
        bn_weight=3.0,
        main_weight=10.0,
        clamp=None,
    ).prepare(scope, tmp_path)
    network, (images,) = InvertedNetwork(scope), store
    with network.fixed(), torch.no_grad():
        logits, after = network(images)
        noise_logits, before = network(torch.randn(images.shape))
    assert after.sum() < 0.3 * before.sum()
    labels = torch.tensor([store.label(i) for i in range(32)])
    right, wrong, noise = (
        nn.functional.cross_entropy(output, wanted)
        for output, wanted in ((logits, labels), (logits, (labels + 1) % 4), (noise_logits, labels))
    )
    assert right < 0.9 * noise and right < 0.9 * wrong
    assert store.facts(0)['losses']['bn'] < 0.5 * before.sum()
    assert 0 < store.seconds == ImageStore(store.folder).seconds


@pytest.mark.parametrize('fails', [False, True])
def test_the_model_is_left_exactly_as_it_was(tmp_path, fails):
    model = trained(Classifier())
    model.backbone[0].weight.requires_grad_(False)
    model.backbone[1].eval()  # frozen, as in detectors
    model.head.bias.grad = torch.ones(4)
    model.backbone[3].register_forward_hook(lambda *args: None)
    before = copy.deepcopy(model.state_dict())
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    if fails:
        with pytest.raises(ConfigError, match='loss'):
            quick(lr=1e18, clamp=None).prepare(scope_of(model), tmp_path)
    else:
        quick().prepare(scope_of(model), tmp_path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == flags
    assert [m.training for m in model.modules()] == modes
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks


def test_the_global_generator_is_not_touched(tmp_path):
    scope = scope_of(trained(Classifier()))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    quick(flip=True).prepare(scope, tmp_path)
    assert torch.equal(torch.rand(1), expected)


def test_of_a_detector_the_target_alone_is_run_without_classes(tmp_path):
    model = trained(Detector())
    network = InvertedNetwork(scope_of(model, 'backbone'))
    assert network.module is model.backbone and network.num_classes is None
    assert network.layers == [model.backbone[1], model.backbone[4]]
    store = quick().prepare(scope_of(model, 'backbone'), tmp_path)
    assert store.num_classes is None and store.label(0) is None
    assert 'main' not in store.facts(0)['losses']
    with torch.no_grad():
        model.neck[0].weight.zero_()  # not part of what is inverted
    assert quick().prepare(scope_of(model, 'backbone'), tmp_path).folder == store.folder
    both = InvertedNetwork(Scope.of(model, torch.zeros(1, *SHAPE), ['backbone', 'neck']))
    assert both.module is model and len(both.layers) == 3
    assert InvertedNetwork(scope_of(model, 'neck')).layers == [model.neck[1]]


def test_of_a_classifier_everything_is_run_and_the_weight_of_the_classes_may_be_zero(tmp_path):
    model = trained(Classifier())
    network = InvertedNetwork(scope_of(model, 'backbone'))
    assert network.module is model and network.num_classes == 4
    store = quick(main_weight=0).prepare(scope_of(model), tmp_path)
    assert store.num_classes is None and 'main' not in store.facts(0)['losses']


def test_hosts_are_understood():
    from mmengine.config import Config
    from mmengine.registry import MODELS as HOSTS
    from mmengine.registry import init_default_scope

    from tests.test_engine import tiny

    init_default_scope('mmpretrain')
    classifier = HOSTS.build(Config.fromstring(tiny.CONFIG, file_format='.py').model)
    network = InvertedNetwork(Scope.of(classifier, torch.zeros(1, 3, 16, 16), 'backbone'))
    assert network.num_classes == 10 and network.module is classifier
    init_default_scope('mmdet')
    cfg = Config.fromfile(tiny.ROOT / 'configs' / 'bccd' / 'retinanet_r18_fpn_bccd.py').model
    cfg.backbone.pop('init_cfg', None)
    detector = HOSTS.build(cfg)
    network = InvertedNetwork(Scope.of(detector, torch.zeros(1, 3, 64, 64), 'backbone'))
    assert network.num_classes is None and network.module is detector.backbone
    assert len(network.layers) == 20


def test_the_best_images_are_those_of_all_phases_or_of_the_last(tmp_path):
    # at half resolution the same images have less variation and so a smaller loss
    options = dict(
        phases=[dict(iterations=4, downscale=4), dict(iterations=3)],
        num_images=8,
        tv2_weight=100.0,
        lr=1e-3,
        lr_schedule='constant',
    )
    model = trained(Classifier())
    stores = {best: quick(best=best, **options).prepare(scope_of(model), tmp_path) for best in ('overall', 'phase')}
    assert stores['overall'].facts(0)['phase'] == 1
    assert stores['phase'].facts(0)['phase'] == 2
    assert not torch.equal(stores['overall'].image(0), stores['phase'].image(0))


def test_the_kept_images_are_those_after_the_best_iteration(tmp_path, monkeypatch):
    seen, real = [], DeepInversion.step

    def step(self, network, x, *args, **kwargs):
        losses = real(self, network, x, *args, **kwargs)
        seen.append((float(losses['total']), x.detach().clone()))
        return losses

    monkeypatch.setattr(DeepInversion, 'step', step)
    store = quick(num_images=8, lr=0.5).prepare(scope_of(trained(Classifier())), tmp_path)
    _, best = min(seen, key=lambda pair: pair[0])
    assert torch.equal(next(iter(store)), best)


@pytest.mark.parametrize(
    ('clamp', 'low', 'high'),
    [('imagenet', -0.485 / 0.229, (1 - 0.485) / 0.229), ((-0.5, 0.25), -0.5, 0.25), ('model', -2.0, 3.1)],
)
def test_images_stay_in_the_range(tmp_path, clamp, low, high):
    model = trained(Classifier())
    model.data_preprocessor = nn.Module()
    model.data_preprocessor.mean, model.data_preprocessor.std = (
        torch.full((3, 1, 1), value) for value in (100.0, 50.0)
    )
    store = quick(clamp=clamp, lr=5.0).prepare(scope_of(model), tmp_path)
    first = torch.stack([store.image(i)[0] for i in range(20)])
    assert first.min() == pytest.approx(low, abs=1e-5)
    assert first.max() == pytest.approx(high, abs=1e-5)


@pytest.mark.parametrize(
    'model',
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
)
def test_networks_without_statistics_are_sent_to_the_noise(tmp_path, model):
    with pytest.raises(ConfigError, match='no batch norm with running statistics.*GaussianNoise'):
        quick().prepare(scope_of(model), tmp_path)


def test_frozen_batch_norms_of_other_libraries_count_and_instance_norms_do_not():
    from torchvision.ops import FrozenBatchNorm2d

    model = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True))
    assert InvertedNetwork(scope_of(model)).layers == [model[1]]


def test_a_loss_that_is_no_number_names_where(tmp_path):
    model = trained(Classifier())
    model.backbone[4].running_var[2] = math.nan
    with pytest.raises(ConfigError, match='loss is nan in iteration 1 of phase 1 of batch 1'):
        quick().prepare(scope_of(model), tmp_path)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(phases=[]), r'^pruning.synthesizer.phases: empty'),
        (dict(phases=[dict(jitter=1)]), r'phases\[0\]\.iterations: missing'),
        (dict(phases=[dict(iterations=5), dict(iterations=0)]), r'phases\[1\].iterations.*0'),
        (
            dict(phases=[dict(iterations=5, zoom=2)]),
            r'phases\[0\]\.zoom: unknown; known keys: downscale, iterations, jitter',
        ),
        (dict(clamp='cifar'), "clamp.*'cifar'"),
        (dict(clamp=(2, 1)), r'^pruning.synthesizer.clamp: \(low, high\)'),
        (dict(lr=0), 'lr'),
        (dict(lr_schedule='step'), "lr_schedule: 'cosine' or 'constant', got 'step'"),
        (dict(l2_norm='all'), 'l2_norm'),
        (dict(best='last'), 'best'),
        (dict(batch_size=0), 'batch_size'),
        (dict(shape=(3, 8)), 'shape'),
        (dict(warmup=-1), 'warmup'),
        (dict(root=3), 'root'),
        (dict(lrate=3), 'lrate'),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build_part(SYNTHESIZERS, dict(type='DeepInversion', **options), 'pruning.synthesizer')


def test_options_that_do_not_fit_the_network_are_named(tmp_path):
    scope = scope_of(trained(Classifier()))
    with pytest.raises(ConfigError, match='downscale=8'):
        quick(phases=[dict(iterations=1, downscale=8)]).prepare(scope, tmp_path)
    with pytest.raises(ConfigError, match="clamp: 'model'"):
        quick(clamp='model').prepare(scope, tmp_path)
    one = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(ConfigError, match="clamp: 'imagenet' gives a range for 3 channels, but the images have 1"):
        quick().prepare(Scope.of(one, torch.zeros(1, 1, 8, 8)), tmp_path)
    with pytest.raises(ConfigError, match='a tuple'):
        quick().prepare(Scope.of(one, (torch.zeros(1, 1, 8, 8),)), tmp_path)


def test_half_precision_has_no_effect_on_the_cpu_and_shape_overrules_the_example(tmp_path):
    store = quick(amp=True, shape=(3, 16, 20)).prepare(scope_of(trained(Classifier())), tmp_path)
    assert store.shape == (3, 16, 20) and store.image(3).dtype == torch.float32


def test_what_was_made_is_written_down_in_plain_words(tmp_path):
    store = quick().prepare(scope_of(trained(Classifier())), tmp_path)
    meta = json.loads((store.folder / 'meta.json').read_text())
    assert meta['what'] == 'DeepInversion: images made from Classifier with 2 batch norms, without any data'
    assert meta['options']['phases'] == [dict(iterations=6, downscale=1, jitter=2)]
    assert store.folder.parent == tmp_path / 'synthetic'
