"""While it is distilled, a model is wrapped as DDP wraps one; whoever takes the wrapper off has the host."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from mmengine.runner.checkpoint import get_state_dict
from torch import Tensor, nn

from mmprune.distillation import DistillationWrapper, FeatureDistillation
from mmprune.graph.program import unwrap
from mmprune.registry import MODELS

CLASSIFIER = dict(
    type='ImageClassifier',
    backbone=dict(type='mmprune.CIFARResNet', depth=20, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16, loss=dict(type='CrossEntropyLoss')),
    data_preprocessor=dict(type='ClsDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3, to_rgb=False),
)


@pytest.fixture
def pair() -> tuple[nn.Module, nn.Module]:
    """A student and a teacher that differ in all weights."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    student, teacher = (MODELS.build(copy.deepcopy(CLASSIFIER)) for _ in range(2))
    return student, teacher


def wrapped(pair: tuple[nn.Module, nn.Module], **options: object) -> DistillationWrapper:
    student, teacher = pair
    loss = FeatureDistillation(**options).loss(student, teacher, ['backbone'], torch.zeros(1, 3, 16, 16))
    return DistillationWrapper(student, loss)


def batch() -> dict[str, list[Tensor]]:
    return {'inputs': list(torch.randn(2, 3, 16, 16))}


def test_mmengine_takes_it_for_a_wrapper(pair: tuple[nn.Module, nn.Module]) -> None:
    model = wrapped(pair)
    assert is_model_wrapper(model) and unwrap(model) is model.module is pair[0]
    assert MODEL_WRAPPERS.get('mmprune.DistillationWrapper') is DistillationWrapper


def test_keys_are_those_of_the_host(pair: tuple[nn.Module, nn.Module]) -> None:
    keys = list(pair[0].state_dict())
    model = wrapped(pair)
    assert list(get_state_dict(model)) == keys
    assert [key.removeprefix('module.') for key in model.state_dict()] == keys
    assert len(list(model.parameters())) == len(list(pair[0].parameters()))
    assert list(ExponentialMovingAverage(unwrap(model)).module.state_dict()) == keys


def test_a_step_trains_the_backbone_and_nothing_else(pair: tuple[nn.Module, nn.Module]) -> None:
    student, teacher = pair
    before, taught = copy.deepcopy(student.state_dict()), copy.deepcopy(teacher.state_dict())
    model = wrapped(pair, bn='eval').train()
    optimizer = OptimWrapper(torch.optim.SGD(student.parameters(), lr=0.1))
    torch.manual_seed(1)
    losses = [float(model.train_step(batch(), optimizer)['loss']) for _ in range(2)]
    assert all(loss > 0 for loss in losses)
    changed = {key for key, value in student.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith('backbone') for key in changed)
    assert all(torch.equal(value, taught[key]) for key, value in teacher.state_dict().items())


def test_the_loss_is_that_of_preprocessed_images(pair: tuple[nn.Module, nn.Module]) -> None:
    model = wrapped(pair, bn='eval').train()
    data = batch()
    wanted = sum(float(term.detach()) for term in model((torch.stack(data['inputs']) - 1) / 2, mode='loss').values())
    found = model.train_step(data, OptimWrapper(torch.optim.SGD(pair[0].parameters(), lr=0.0)))
    assert float(found['loss']) == pytest.approx(wanted, rel=1e-5)


def test_predictions_and_the_own_loss_are_those_of_the_host(pair: tuple[nn.Module, nn.Module]) -> None:
    student, own = pair[0], pair[0].loss
    model, data = wrapped(pair).eval(), batch()
    assert student.loss == own and not student.training
    with torch.no_grad():
        for step in ('test_step', 'val_step'):
            found = [sample.pred_score for sample in getattr(model, step)(copy.deepcopy(data))]
            wanted = [sample.pred_score for sample in getattr(student, step)(copy.deepcopy(data))]
            assert all(map(torch.equal, found, wanted))
        images = torch.stack(data['inputs'])
        assert torch.equal(model(images), student(images))


def test_what_training_runs_can_be_made_parallel(pair: tuple[nn.Module, nn.Module]) -> None:
    """DDP goes inside: it sees all parameters of the host, and ``module`` is still the host."""
    seen = []

    def parallel(module: nn.Module) -> nn.Module:
        seen.extend(module.parameters())
        return module

    student, teacher = pair
    loss = FeatureDistillation().loss(student, teacher, ['backbone'], torch.zeros(1, 3, 16, 16))
    model = DistillationWrapper(student, loss, parallel)
    assert set(map(id, seen)) == set(map(id, student.parameters())) and model.module is student
