"""Whatever state a network is given in, pruning gives the same weights, and leaves the state as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

import mmprune
from tests.networks import randomise

PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.4), keep=['stem.0'])
SETTINGS = {
    'cut only': dict(restorer=None),
    'closed form': dict(restorer='MomentRestoration'),
    'on noise': dict(restorer=dict(type='MomentRestoration', moments='noise')),
    'on images': dict(restorer=dict(type='MomentRestoration', moments='images')),
    'norms': dict(restorer=dict(type='BNRecalibration', control=True)),
    'LBYL': dict(restorer='LBYL'),
    'MomentOBS on noise': dict(restorer=None, pruner=dict(PRUNER, criterion=dict(type='MomentOBS', moments='noise'))),
    'redundancy': dict(
        restorer=None,
        pruner=dict(
            PRUNER, criterion=dict(type='RedundancyGraph', num_images=8, batch_statistics=False), allocator=None
        ),
    ),
    'curves': dict(
        restorer=None,
        pruner=dict(
            PRUNER,
            allocator=dict(
                type='RateDistortion', ratio=0.4, curves=dict(num_images=4, points=3, cache=False, progress=False)
            ),
        ),
    ),
    'masks': dict(
        restorer=dict(type='MomentRestoration', moments='noise'),
        pruner=dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.4)),
    ),
}


class Regularised(nn.Module):
    """Dropout, stochastic depth and batch norms: nothing of it may be seen to work in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.inner = nn.Sequential(
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(12, 8, 1)
        )
        self.skip = StochasticDepth(0.5, 'row')
        self.top = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 10, 1), nn.BatchNorm2d(10), nn.ReLU())
        self.classify = nn.Linear(10, 4)
        self.register_buffer('seen', torch.zeros((), dtype=torch.long))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        x = self.stem(images)
        x = self.top(x + self.skip(self.inner(x)))
        return self.classify(nn.functional.dropout(x.mean((2, 3)), 0.5, self.training))


def build() -> nn.Module:
    torch.manual_seed(0)
    return randomise(Regularised())


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 3, 8, 8, generator=generator) for _ in range(2)]


def mixed_modes(model: nn.Module) -> None:
    """A fine-tuning user's: frozen batch norms, the rest in training mode, one block not."""
    model.train()
    model.stem.eval()
    model.top[3].eval()
    model.skip.training = False


def in_training(model: nn.Module) -> None:
    model.train()


def of_a_user(model: nn.Module) -> None:
    mixed_modes(model)
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    for module in model.modules():
        module.register_forward_hook(lambda *_: None)
        module.register_forward_pre_hook(lambda *_: None)


@contextmanager
def mixed_precision() -> Iterator[None]:
    with torch.autocast('cpu', torch.bfloat16), torch.no_grad():
        yield


@contextmanager
def unusual_defaults() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.device('meta'):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


#: What is done to the network, and what surrounds the call.
STATES: dict[str, tuple[Callable[[nn.Module], object], Callable[[], AbstractContextManager]]] = {
    'training mode': (in_training, nullcontext),
    'mixed modes, frozen parameters, hooks, autocast': (of_a_user, mixed_precision),
    'other defaults, inference mode': (in_training, unusual_defaults),
}


def state_of(model: nn.Module) -> dict[str, object]:
    """Everything that pruning has no business to change."""
    return {
        'modes': [module.training for module in model.modules()],
        'flags': [parameter.requires_grad for parameter in model.parameters()],
        'identities': [id(parameter) for parameter in model.parameters()],
        'hooks': [len(module._forward_hooks) for module in model.modules()],
        'seen': int(model.seen),
        'batches': [int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)],
    }


def assert_alike(a: nn.Module, b: nn.Module) -> None:
    wanted, got = a.state_dict(), b.state_dict()
    assert [(key, value.shape, value.dtype) for key, value in wanted.items()] == [
        (key, value.shape, value.dtype) for key, value in got.items()
    ]
    different = [key for key, value in wanted.items() if not torch.equal(value, got[key])]
    assert not different


@pytest.mark.parametrize('setting', SETTINGS)
def test_the_state_of_a_network_is_neither_used_nor_changed(setting: str) -> None:
    options = dict(dict(pruner=PRUNER), **SETTINGS[setting])
    plain = build()
    mmprune.prune(plain, torch.zeros(2, 3, 8, 8), images=images(), clock_s=0, **options)
    for name, (spoil, surroundings) in STATES.items():
        model = build()
        spoil(model)
        example, batches, before = torch.zeros(2, 3, 8, 8), images(), state_of(model)
        with surroundings():
            mmprune.prune(model, example, images=batches, clock_s=0, **options)
        assert state_of(model) == before, name
        assert_alike(plain, model)
        assert not any(parameter.is_inference() for parameter in model.parameters())


def test_examples_made_in_inference_mode_will_do() -> None:
    model = build()
    with torch.inference_mode():
        report = mmprune.prune(model, torch.randn(2, 3, 8, 8), pruner=PRUNER)
    model.train()(torch.randn(4, 3, 8, 8)).sum().backward()
    assert report.stages[-1].params < report.stages[0].params


def test_what_autocast_remembers_is_of_the_new_weights() -> None:
    """Autocast keeps copies of weights by their address for as long as it lasts."""
    model, example = build(), torch.randn(2, 3, 8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        model(example)
        mmprune.prune(model, example, pruner=PRUNER, restorer=None)
        inside = model(example)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(inside, model(example))


def test_an_input_that_is_overwritten_stays_what_it_was() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = build()

        def forward(self, images: Tensor) -> Tensor:
            images -= 1
            return self.body(images)

    model, example = Centred().eval(), torch.randn(2, 3, 8, 8)
    before = example.clone()
    mmprune.prune(model, example, pruner=dict(PRUNER, keep=()), restorer='MomentRestoration')
    assert torch.equal(example, before)


def test_a_copy_that_cannot_be_made_is_refused() -> None:
    model, example = build(), torch.randn(2, 3, 8, 8)
    model.register_forward_hook(lambda module, args, output: setattr(module, 'last', output))
    model(example)
    with pytest.raises(mmprune.ConfigError, match=r'^dry_run: Regularised cannot be copied'):
        mmprune.prune(model, example, pruner=PRUNER, dry_run=True)
    assert model.last.grad_fn is not None
