"""The loss is the published one, and leaves everything else alone."""

import copy

import pytest
import torch
import torchvision
from mmengine.config import ConfigDict
from torch import nn

import mmprune
from mmprune.distillation import FeatureDistillation, FeatureLoss, Part
from mmprune.errors import ConfigError
from mmprune.registry import DISTILLATIONS, build_part
from tests.networks import Detector, randomise
from tests.oracles.distillation import literal_loss

RESNET = dict(
    build=lambda: torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 2, 1, 1], num_classes=5),
    keep=['conv1', '*.conv2', '*.downsample*'],
    norms=['layer1.0.bn2', 'layer2.0.bn2', 'layer2.1.bn2', 'layer3.0.bn2', 'layer4.0.bn2'],
)
VGG = dict(
    build=lambda: torchvision.models.vgg._vgg('A', True, None, False).features,
    keep=['0', '4', '11', '18', '25'],
    norms=['12', '19', '26'],
)


def student_and_teacher(network: dict) -> tuple[nn.Module, nn.Module]:
    model = nn.Module()
    model.backbone = network['build']()
    if hasattr(model.backbone, 'fc'):  # the features only
        model.backbone.avgpool = model.backbone.fc = nn.Identity()
    model.forward = model.backbone.forward
    randomise(model)
    teacher = copy.deepcopy(model)
    teacher.forward = teacher.backbone.forward
    mmprune.prune(
        model,
        torch.randn(1, 3, 32, 32),
        'backbone',
        restorer=None,
        pruner=dict(type='ChannelPruner', keep=network['keep'], allocator=dict(type='Uniform', ratio=0.4)),
    )
    return model, teacher


@pytest.mark.parametrize('network', [RESNET, VGG], ids=['ResNet', 'VGG'])
@pytest.mark.parametrize(
    'criterion, method, bn', [('l1', 0, 'train'), ('mse', 2, 'eval'), ('huber', 8, 'train'), ('smooth_l1', 11, 'eval')]
)
def test_equals_the_literal_loss_and_its_gradients(network: dict, criterion: str, method: int, bn: str) -> None:
    student, teacher = student_and_teacher(network)
    literal = copy.deepcopy(student)
    images = torch.randn(3, 3, 32, 32)
    settings = FeatureDistillation(criterion=criterion, weights=method, bn=bn)
    options = dict(norms=network['norms'], criterion=criterion, beta=settings.beta, method=method)
    literal.train(bn == 'train')
    loss = settings.loss(student, copy.deepcopy(teacher), ['backbone'], images[:1])
    terms = loss(images)
    assert list(terms) == [f'loss_feat_{k}' for k in range(1, len(network['norms']) + 1)]
    wanted = literal_loss(literal.backbone, teacher.eval().backbone, images, **options)
    assert float(sum(terms.values()).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)

    # gradients in double precision: with three images, batch norms make much of what single precision rounds off
    for model in (student, literal, teacher, loss.teacher.model):
        model.double()
    sum(loss(images.double()).values()).backward()
    literal_loss(literal.backbone, teacher.backbone, images.double(), **options).backward()
    for (name, ours), theirs in zip(student.named_parameters(), literal.parameters()):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-8, rtol=1e-6), name
    for (name, ours), theirs in zip(student.named_buffers(), literal.buffers()):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_the_teacher_gets_no_gradient_and_keeps_its_statistics() -> None:
    student, teacher = student_and_teacher(RESNET)
    before = copy.deepcopy(teacher.state_dict())
    loss = FeatureDistillation(bn='train').loss(student, teacher, ['backbone'], torch.randn(1, 3, 32, 32))
    sum(loss(torch.randn(4, 3, 32, 32)).values()).backward()
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert not any(parameter.grad is not None or parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize('bn, wanted', [('train', True), ('eval', False), ('host', False)])
def test_mode_of_batch_norms(bn: str, wanted: bool) -> None:
    student, teacher = student_and_teacher(RESNET)
    student.backbone.bn1.requires_grad_(False)  # as a host freezes its stem
    loss = FeatureDistillation(bn=bn).loss(student, teacher, ['backbone'], torch.randn(1, 3, 32, 32))
    student.eval()
    loss(torch.randn(2, 3, 32, 32))
    assert student.backbone.layer1[0].bn1.training is wanted
    assert not student.backbone.bn1.training


def test_neck_outputs_as_an_extra_term() -> None:
    def build() -> Detector:
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        return Detector(backbone, nn.ModuleList([nn.Conv2d(8, 4, 1)])[0])

    teacher, images = build(), torch.randn(2, 3, 16, 16)
    student = build()
    with torch.no_grad():
        student.neck.weight.mul_(1.5)
    terms = FeatureDistillation(neck=2.0).loss(student, teacher, ['backbone'], images)(images)
    distance = (student(images) - teacher(images)).abs().mean()
    assert torch.allclose(terms['loss_feat_neck'], 2 * distance)
    assert terms['loss_feat_1'] == 0
    sum(terms.values()).backward()
    assert student.backbone[2].weight.grad.any() and student.neck.weight.grad is None
    assert student.neck.weight.requires_grad
    student.neck = None
    with pytest.raises(ConfigError, match='^neck: this model has no neck'):
        FeatureDistillation(neck=2.0).loss(student, teacher, ['backbone'], images)


def test_half_precision_features_are_compared_in_single() -> None:
    student, teacher = student_and_teacher(RESNET)
    loss = FeatureDistillation().loss(student, teacher, ['backbone'], torch.randn(1, 3, 32, 32))
    with torch.autocast('cpu', torch.bfloat16):
        terms = loss(torch.randn(2, 3, 32, 32))
    assert all(term.dtype == torch.float32 for term in terms.values())


@pytest.mark.parametrize(
    'key, value',
    [
        ('criterion', 'l2'),
        ('beta', 0),
        ('weights', 12),
        ('which', 'some'),
        ('bn', 'frozen'),
        ('neck', -1),
        ('images', 'noise'),
        ('num_real', 0),
        ('unknown', 1),
    ],
)
def test_bad_settings_name_the_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf'pruning\.distillation.*{key}'):
        build_part(
            DISTILLATIONS,
            ConfigDict({'type': 'FeatureDistillation', 'images': 'mixed', key: value}),
            'pruning.distillation',
        )


def test_number_of_real_images_without_real_images() -> None:
    with pytest.raises(ValueError, match='num_real'):
        FeatureDistillation(images='synthetic', num_real=10)


def test_every_term_needs_a_weight() -> None:
    part = Part(nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError):
        FeatureLoss(part, part, ['a', 'b'], [1.0], nn.functional.l1_loss)


@pytest.mark.parametrize('channels, wanted', [(4, False), (32, True)])
def test_narrow_strided_convs_keep_their_layout(channels: int, wanted: bool) -> None:
    """Their backward pass corrupts memory in channels-last on some CPUs."""
    seen = []

    def build() -> nn.Module:
        model = nn.Module()
        model.backbone = nn.Sequential(nn.Conv2d(3, channels, 3), nn.Conv2d(channels, 8, 1, stride=2))
        model.forward = model.backbone.forward
        return model

    student = build()
    student.backbone[0].register_forward_pre_hook(
        lambda module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    loss = FeatureDistillation(which='output').loss(student, build(), ['backbone'], torch.randn(1, 3, 8, 8))
    sum(loss(torch.randn(2, 3, 8, 8)).values()).backward()
    assert seen[-1] is wanted
