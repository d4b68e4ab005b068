"""Layers that a pass in eval mode does not see: nothing that they read is cut, and they are listed with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mmprune
from tests.oracles.masked_readers import difference, masked_readers, record_of, tensors

PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3))
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Body(nn.Module):
    """Three blocks and a classifier; ``aux`` is what families put beside them."""

    def __init__(self, aux: Callable[[], nn.Module] = nn.Identity) -> None:
        super().__init__()
        self.low, self.middle, self.high = block(3, 16), block(16, 24), block(24, 20)
        self.classify, self.aux = nn.Linear(20, 5), aux()

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low = self.low(images)
        middle = self.middle(low)
        return low, middle, self.classify(self.high(middle).mean((2, 3)))

    def forward(self, images: Tensor) -> object:
        low, middle, scores = self.maps(images)
        return (scores, self.extra(low, middle)) if self.training else scores

    def extra(self, low: Tensor, middle: Tensor) -> Tensor:
        return self.aux(low).mean()


class Joined(Body):
    def extra(self, low: Tensor, middle: Tensor) -> Tensor:
        return self.aux(torch.cat([low, middle], dim=1)).mean()


class Pooled(Body):
    def extra(self, low: Tensor, middle: Tensor) -> Tensor:
        return self.aux(F.adaptive_avg_pool2d(low, 2).flatten(1)).mean()


class Scaled(Body):
    """The path of training has a parameter, but no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16, 1, 1))

    def extra(self, low: Tensor, middle: Tensor) -> Tensor:
        return (low * self.scale).mean()


class Momentum(Body):
    """A copy of a block that follows its weights, as in self-supervised training."""

    def extra(self, low: Tensor, middle: Tensor) -> Tensor:
        with torch.no_grad():
            for own, other in zip(self.aux.parameters(), self.low.parameters()):
                own.mul_(0.9).add_(other, alpha=0.1)
        return F.mse_loss(low, self.aux(torch.ones_like(low)[:, :3]))


def flagged(kind: type[Body]) -> type[Body]:
    """The same beside a forward pass that never goes there, whatever the mode."""

    class Flagged(kind):
        def forward(self, images: Tensor, whole: bool = False) -> object:
            low, middle, scores = self.maps(images)
            return (scores, self.extra(low, middle)) if whole else scores

    return Flagged


class NeedsLabels(Body):
    def forward(self, images: Tensor, labels: Tensor | None = None) -> object:
        low, middle, scores = self.maps(images)
        if not self.training:
            return scores
        if labels is None:
            raise ValueError('labels, please')
        return F.cross_entropy(scores, labels), self.extra(low, middle)


FAMILIES = {
    'a conv': lambda kind: kind(Body)(lambda: nn.Conv2d(16, 4, 1)),
    'layers': lambda kind: kind(Body)(lambda: nn.Sequential(nn.Conv2d(16, 12, 1), nn.ReLU(), nn.Conv2d(12, 4, 1))),
    'a norm': lambda kind: kind(Body)(lambda: nn.BatchNorm2d(16)),
    'a slope per channel': lambda kind: kind(Body)(lambda: nn.PReLU(16)),
    'a concatenation': lambda kind: kind(Joined)(lambda: nn.Conv2d(40, 4, 1)),
    'a flattened map': lambda kind: kind(Pooled)(lambda: nn.Linear(64, 4)),
}
BY_TRAINING = {
    'a free parameter': lambda kind: Scaled(),
    'a momentum encoder': lambda kind: Momentum(lambda: block(3, 16)),
}


def steps(model: nn.Module, *args: object) -> None:
    """One step of training on all that comes out."""
    sum(out.sum() for out in tensors(model.train()(IMAGES, *args))).backward()


def reasons(report: mmprune.Report) -> dict[str, str]:
    return {row.name: row.reason for row in report.layers}


@pytest.mark.parametrize('build', [*FAMILIES.values(), *BY_TRAINING.values()], ids=[*FAMILIES, *BY_TRAINING])
@pytest.mark.parametrize('training', [False, True], ids=['given in eval', 'given in training'])
def test_what_runs_in_training_only_still_runs(build: Callable, training: bool) -> None:
    model = build(lambda kind: kind).train(training)
    report = mmprune.prune(model, IMAGES, pruner=PRUNER, clock_s=0)
    assert 'training mode' in reasons(report)['low.0'] and not reasons(report)['high.0']
    assert all(why for name, why in reasons(report).items() if name.startswith('aux'))
    steps(model)


@pytest.mark.parametrize('build', FAMILIES.values(), ids=FAMILIES)
def test_what_runs_in_no_pass_still_runs_in_other_calls(build: Callable) -> None:
    model = build(flagged)
    report = mmprune.prune(model, IMAGES, pruner=PRUNER, clock_s=0)
    assert reasons(report)['low.0'].startswith('may feed aux') and not reasons(report)['high.0']
    assert all('does not run' in why for name, why in reasons(report).items() if name.startswith('aux'))
    steps(model, True)


def test_training_that_needs_labels_keeps_what_it_may_read() -> None:
    model = NeedsLabels(lambda: nn.Conv2d(16, 4, 1))
    report = mmprune.prune(model, IMAGES, pruner=PRUNER, clock_s=0)
    assert reasons(report)['low.0'].startswith('may feed aux') and not reasons(report)['middle.0']
    steps(model, torch.tensor([0, 1]))


def test_layers_that_fit_nowhere_keep_nothing() -> None:
    report = mmprune.prune(Body(lambda: nn.Linear(17, 3)).eval(), IMAGES, pruner=PRUNER, clock_s=0)
    assert [name for name, why in reasons(report).items() if why] == ['classify', 'aux']


def without_gradients(model: Body, images: Tensor) -> Tensor:
    with torch.no_grad():
        low = model.low(images)
    return model.classify(model.high(model.middle(low)).mean((2, 3)))


def detached(model: Body, images: Tensor) -> tuple[Tensor, Tensor]:
    low, middle, scores = model.maps(images)
    return scores, low.detach()


def by_data(model: Body, images: Tensor) -> Tensor:
    return model.classify(model.high(model.middle(model.low(images).data)).mean((2, 3)))


@pytest.mark.parametrize(('forward', 'cut'), [(without_gradients, True), (by_data, True), (detached, False)])
def test_parts_without_gradients_are_followed(forward: Callable, cut: bool) -> None:
    class Network(Body):
        def forward(self, images: Tensor) -> object:
            return forward(self, images)

    dense = Network().eval()
    model = Network().eval()
    model.load_state_dict(dense.state_dict())
    report = mmprune.prune(model, IMAGES, pruner=PRUNER, restorer=None, clock_s=0)
    assert reasons(report)['low.0'] == ('' if cut else 'is an output of the network')
    with masked_readers(dense, record_of(model)) as masked, torch.no_grad():
        assert difference(masked(IMAGES), model(IMAGES)) < 1e-4
