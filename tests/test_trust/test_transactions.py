"""A call of the pruner that fails, is refused or interrupted leaves the network as it was, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import mmprune
from mmprune.errors import ConfigError
from mmprune.graph.site import Site
from mmprune.restorers import BNRecalibration, MomentRestoration
from tests.networks import randomise

EXAMPLE = torch.zeros(1, 3, 12, 12)
CHANNELS = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5))
WEIGHTS = dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.5))


def plain() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3, bias=False), nn.BatchNorm2d(8)]
    return randomise(nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(8, 4, 1)))


class Residual(nn.Module):
    """A sum of two branches, one of them depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
        self.inner = nn.Sequential(nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 8, 1))
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images).relu()
        return self.head((features + self.inner(features) + self.depthwise(features)).mean((2, 3)))


def residual() -> nn.Module:
    return randomise(Residual())


def pruned() -> nn.Module:
    model = plain()
    mmprune.prune(model, EXAMPLE, pruner=dict(CHANNELS, allocator=dict(type='Uniform', ratio=0.2)), clock_s=0)
    return model


def masked() -> nn.Module:
    model = plain()
    mmprune.prune(model, EXAMPLE, pruner=dict(WEIGHTS, allocator=dict(type='Uniform', ratio=0.2)), clock_s=0)
    return model


def in_use() -> nn.Module:
    """With gradients, half frozen, one part in training mode, a hook of the user's."""
    model = plain()
    model(torch.randn(2, 3, 12, 12)).sum().backward()
    model[0].requires_grad_(False)
    model[4].train()
    model[2].register_forward_hook(_do_nothing)
    return model


def _do_nothing(module: nn.Module, args: tuple, output: Tensor) -> None:
    pass


NETWORKS = dict(plain=plain, residual=residual, pruned=pruned, masked=masked, in_use=in_use)


class FailsAtTheEnd(BNRecalibration):
    def restore_model(self, model: nn.Module, *args: object) -> None:
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                norm.reset_running_stats()
        raise RuntimeError('broken')


class FailsHalfWay(MomentRestoration):
    def prepare(self, sites: Sequence[Site], *args: object) -> None:
        super().prepare(sites, *args)
        self.left = 1

    def restore_site(self, site: Site, keep: Tensor) -> str:
        super().restore_site(site, keep)
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError
        return ''


class Spoils(BNRecalibration):
    def restore_model(self, model: nn.Module, *args: object) -> None:
        with torch.no_grad():
            next(model.parameters()).fill_(torch.nan)


def interrupt(stage: int) -> Callable[[], dict]:
    """An evaluation that is interrupted at this stage, by Ctrl-C."""
    stages = iter(range(9))

    def evaluate() -> dict:
        if next(stages) == stage:
            raise KeyboardInterrupt
        return {}

    return evaluate


BATCHES = [torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))]


def later_broken() -> list:
    return [BATCHES[0], 'no image']


FAILURES: dict[str, tuple[dict, type[BaseException]]] = {
    'no images': (dict(restorer='BNRecalibration', images=[]), ConfigError),
    'none wanted': (dict(restorer='BNRecalibration'), ConfigError),
    'strange images': (dict(restorer='BNRecalibration', images=[('x', 'y')]), ConfigError),
    'images that break off': (dict(restorer='BNRecalibration', images=later_broken()), ConfigError),
    'images that break off, control': (
        dict(restorer=dict(type='BNRecalibration', control=True), images=later_broken()),
        ConfigError,
    ),
    'a restorer that fails at the end': (dict(restorer=FailsAtTheEnd(), images=BATCHES), RuntimeError),
    'a restorer that fails half way': (dict(restorer=FailsHalfWay()), ZeroDivisionError),
    'a restorer that spoils weights': (dict(restorer=Spoils(), images=BATCHES), ConfigError),
    'interrupted when dense': (dict(evaluate=0), KeyboardInterrupt),
    'interrupted when pruned': (dict(evaluate=1), KeyboardInterrupt),
    'interrupted when restored': (dict(evaluate=2), KeyboardInterrupt),
    'interrupted when only pruned': (dict(evaluate=1, restorer=None), KeyboardInterrupt),
    'a wrong pattern': (dict(keep=['nowhere']), ConfigError),
}


def state(model: nn.Module) -> dict:
    """All that can be seen of a network, and which objects it is made of."""
    found: dict = {}
    for name, module in model.named_modules():
        found[name, 'mode'] = module.training
        found[name, 'attributes'] = [*vars(module)]
        for key, value in vars(module).items():
            if isinstance(value, dict) and key not in ('_parameters', '_buffers'):
                found[name, key] = list(value.items())
            elif isinstance(value, (int, float, str, tuple, set)):
                found[name, key] = copy.copy(value)
        for key, tensor in (*vars(module)['_parameters'].items(), *vars(module)['_buffers'].items()):
            if tensor is not None:
                gradient = None if tensor.grad is None else tensor.grad.tolist()
                found[name, 'tensor', key] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, gradient)
                found[name, 'values', key] = (tensor.dtype, tensor.tolist())
    found['state dict'] = list(model.state_dict())
    return found


@pytest.mark.parametrize('pruner', [CHANNELS, WEIGHTS], ids=['channels', 'weights'])
@pytest.mark.parametrize('failure', FAILURES)
@pytest.mark.parametrize('network', NETWORKS)
def test_a_failed_call_leaves_the_network_as_it_was(network: str, failure: str, pruner: dict) -> None:
    if failure == 'a restorer that fails half way' and pruner is WEIGHTS:
        pytest.skip('a masked network has no sites')
    model, (options, kind) = NETWORKS[network](), FAILURES[failure]
    options = dict(options)
    pruner = dict(pruner, keep=options.pop('keep', []))
    if 'evaluate' in options:
        options['evaluate'] = interrupt(options['evaluate'])
    outputs = model(BATCHES[0])
    before = state(model)
    with pytest.raises(kind):
        mmprune.prune(model, EXAMPLE, '', pruner, clock_s=0, **options)
    after = state(model)
    assert after.keys() == before.keys()
    assert not [key for key, value in before.items() if after[key] != value]
    assert torch.equal(model(BATCHES[0]), outputs)


@pytest.mark.parametrize('pruner', [CHANNELS, WEIGHTS], ids=['channels', 'weights'])
def test_a_second_attempt_does_what_the_first_would_have_done(pruner: dict) -> None:
    once, again = plain(), plain()
    with pytest.raises(RuntimeError, match='broken'):
        mmprune.prune(again, EXAMPLE, '', pruner, FailsAtTheEnd(), images=BATCHES, clock_s=0)
    for model in (once, again):
        mmprune.prune(model, EXAMPLE, '', pruner, clock_s=0)
    assert once.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(once.state_dict().values(), again.state_dict().values()))
