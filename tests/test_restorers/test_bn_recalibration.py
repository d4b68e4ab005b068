"""Batch norms re-estimated from images, with and without the dense network as a control."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmprune
from mmprune.checkpoint.record import structure_of
from mmprune.restorers import BNRecalibration
from tests.networks import randomise

EXAMPLE = torch.zeros(1, 3, 12, 12)


def network() -> nn.Module:
    return randomise(
        nn.Sequential(
            nn.Conv2d(3, 12, 3, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 1),
        )
    ).eval()


def images(count: int = 40, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list((2 * torch.randn(count, 3, 12, 12, generator=generator) + 0.5).split(20))


def statistics(model: nn.Module) -> list[torch.Tensor]:
    return [
        value.clone()
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        for value in (module.running_mean, module.running_var)
    ]


def prune(model: nn.Module, restorer: object, ratio: float = 0.5) -> nn.Module:
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=ratio))
    mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, images=images())
    return model


def test_without_control_statistics_are_the_images() -> None:
    model = prune(network(), 'BNRecalibration')
    seen = [model[0](batch) for batch in images()]
    mean = torch.stack([out.mean(dim=(0, 2, 3)) for out in seen]).mean(dim=0)
    assert torch.allclose(model[1].running_mean, mean, atol=1e-5)


def test_with_control_an_unchanged_network_stays_as_it_is() -> None:
    model, restorer = network(), BNRecalibration(control=True)
    before = statistics(model)
    restorer.prepare([], model, images())
    restorer.restore_model(model, model, images())
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(before, statistics(model)))
    plain = network()
    BNRecalibration().restore_model(plain, plain, images())
    assert not all(torch.allclose(a, b, rtol=0.1) for a, b in zip(before, statistics(plain)))


def test_with_control_what_the_cut_did_not_touch_stays() -> None:
    dense = network()
    model = prune(network(), dict(type='BNRecalibration', control=True))
    kept = structure_of(model).modules['0'].outputs
    assert torch.allclose(model[1].running_mean, dense[1].running_mean[kept], rtol=1e-4, atol=1e-5)
    assert torch.allclose(model[1].running_var, dense[1].running_var[kept], rtol=1e-4)
    assert not torch.allclose(model[4].running_var, prune(network(), None)[4].running_var, rtol=0.05)


def test_modes_and_momenta_come_back() -> None:
    model = network().train()
    model[1].momentum = 0.3
    BNRecalibration().restore_model(model, model, images())
    assert model.training and model[1].training and model[1].momentum == 0.3


def test_no_images() -> None:
    with pytest.raises(ValueError, match='images: the source is empty'):
        BNRecalibration().restore_model(network(), network(), [])


class Host(nn.Module):
    """A network whose second head runs only when it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = network(), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
        randomise(self)

    def forward(self, inputs: torch.Tensor, everything: bool = False) -> torch.Tensor:
        features = self.body(inputs)
        return self.head(features) if everything else features


@pytest.mark.parametrize('control', [False, True])
def test_what_does_not_run_keeps_its_statistics(control: bool) -> None:
    model = Host()
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    pruner = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5))
    restorer = dict(type='BNRecalibration', control=control)
    mmprune.prune(model, EXAMPLE, 'body', pruner, restorer, images=images())
    assert all(torch.equal(value, before[name]) for name, value in model.head.state_dict().items())


def test_norms_that_see_one_value_keep_their_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 12, bias=False), nn.BatchNorm2d(4))
    before = statistics(model)
    BNRecalibration().restore_model(model, model, [EXAMPLE])
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(model)))


@pytest.mark.parametrize('control', [False, True])
def test_a_generator_repairs_as_the_list_does(control: bool) -> None:
    restorer, pruner = dict(type='BNRecalibration', control=control), dict(type='Uniform', ratio=0.5)
    dense, models = network(), []
    for given in (images(), (batch for batch in images()), ((batch, 7) for batch in images())):
        models.append(copy.deepcopy(dense))
        mmprune.prune(models[-1], EXAMPLE, '', dict(type='ChannelPruner', allocator=pruner), restorer, images=given)
    expected, *others = (model.state_dict() for model in models)
    assert all(torch.equal(value, other[name]) for other in others for name, value in expected.items())


def test_the_report_says_who_repaired_and_not_that_nobody_did() -> None:
    model = network()
    pruner = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5))
    report = mmprune.prune(model, EXAMPLE, '', pruner, 'BNRecalibration', images=images())
    assert {row.repair for row in report.layers if row.after < row.before} == {'BNRecalibration'}
