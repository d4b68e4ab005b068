"""Inputs and outputs of real programs: whatever goes in and comes out, a network is pruned, or refused in one line."""

from __future__ import annotations

import copy
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import Tensor, nn

import mmprune
from mmprune.errors import ConfigError, GraphError
from tests.networks import randomise
from tests.oracles.masked_readers import difference, masked_readers, record_of

PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3))
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(2, 3, 16, 16, generator=GENERATOR)
NUMBERS = torch.randn(2, 4, generator=GENERATOR)
Pair = namedtuple('Pair', 'scores features')


@dataclass
class Output:
    scores: Tensor
    features: Tensor | None = None
    name: str = 'output'


@dataclass(frozen=True)
class Batch:
    images: Tensor
    numbers: Tensor


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = block(3, 16), block(16, 24), nn.Conv2d(24, 5, 1)

    def maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(images)
        return first, self.head(self.second(first))


def returning(make: Callable[[Tensor, Tensor], object]) -> nn.Module:
    class Network(Body):
        def forward(self, images: Tensor) -> object:
            return make(*self.maps(images))

    return Network()


#: What is made of the first block's features and the scores, and whether the features leave the network.
OUTPUTS = {
    'labels': (lambda f, s: [dict(scores=one, labels=one.argmax(0)) for one in s], False),
    'a mask': (lambda f, s: (s, s > 0), False),
    'indices': (lambda f, s: s.flatten(2).topk(3, dim=2), False),
    'nothing': (lambda f, s: (s, s.flatten()[:0], None, 'text', 3), False),
    'a number': (lambda f, s: s.square().mean(), False),
    'a number per image': (lambda f, s: s.mean((1, 2, 3)), False),
    'complex numbers': (lambda f, s: torch.fft.fft2(s), False),
    'a data class': (lambda f, s: Output(s, f), True),
    'a named tuple': (lambda f, s: Pair(s, f), True),
    'an ordered dict': (lambda f, s: OrderedDict(scores=s, features=[f]), True),
    'a mapping': (lambda f, s: UserDict(scores=s, features=[f]), True),
    'an object': (lambda f, s: SimpleNamespace(scores=s, features=f), True),
    'a data class in a dict': (lambda f, s: dict(all=[Output(s, f)]), True),
}


def forward(model: nn.Module, *args: object, **kwargs: object) -> object:
    with torch.no_grad():
        return model.eval()(*args, **kwargs)


def plain(value: object) -> object:
    """Outputs that the judge can read."""
    if isinstance(value, UserDict):
        return value.data
    value = vars(value) if isinstance(value, SimpleNamespace) else value
    return torch.view_as_real(value) if isinstance(value, Tensor) and value.is_complex() else value


@pytest.mark.parametrize(('make', 'leaves'), OUTPUTS.values(), ids=OUTPUTS)
@pytest.mark.parametrize('restorer', [None, 'MomentRestoration'])
def test_outputs_of_every_kind(make: Callable, leaves: bool, restorer: str | None) -> None:
    model = returning(make)
    dense = copy.deepcopy(model)
    report = mmprune.prune(model, IMAGES, pruner=PRUNER, restorer=restorer, clock_s=0)
    rows = {row.name: row for row in report.layers}
    assert rows['second.0'].after < 24
    assert (rows['first.0'].reason == 'is an output of the network') == leaves
    if restorer is None:
        with masked_readers(dense, record_of(model)) as masked:
            assert difference(plain(forward(masked, IMAGES)), plain(forward(model, IMAGES))) < 1e-4


def test_a_network_of_labels_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match='^example_input: the network returns no tensor of real numbers'):
        mmprune.prune(returning(lambda f, s: s.argmax(1)), IMAGES, pruner=PRUNER)


class TwoInputs(Body):
    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
        self.second = block(32, 24)

    def work(self, images: Tensor, numbers: Tensor) -> Tensor:
        first = self.first(images)
        side = self.side(numbers)[:, :, None, None].expand(-1, -1, *first.shape[2:])
        return self.head(self.second(torch.cat([first, side], dim=1)))


class Positional(TwoInputs):
    def forward(self, images: Tensor, numbers: Tensor) -> Tensor:
        return self.work(images, numbers)


class Keywords(TwoInputs):
    def forward(self, images: Tensor, *, numbers: Tensor, scale: float = 1, mask: Tensor | None = None) -> Tensor:
        return self.work(images, numbers) * scale


class One(TwoInputs):
    def forward(self, batch: object) -> Tensor:
        if isinstance(batch, (Batch, Pair)):
            return self.work(*(vars(batch).values() if isinstance(batch, Batch) else batch))
        return self.work(*(batch.values() if isinstance(batch, dict) else batch))


class Unequal(TwoInputs):
    """A list of images of different sizes, as torchvision's detectors take it."""

    def forward(self, images: list[Tensor]) -> list[Tensor]:
        return [self.work(image[None], image.mean((1, 2))[None, :1].expand(1, 4)) for image in images]


NAMED = dict(images=IMAGES, numbers=NUMBERS)
SIZES = [IMAGES[0], torch.randn(3, 20, 12, generator=GENERATOR)]
#: A network, an example as a user gives it, and the arguments that are meant.
INPUTS = {
    'a tuple': (Positional, (IMAGES, NUMBERS), (IMAGES, NUMBERS), {}),
    'a list of arguments': (Positional, [IMAGES, NUMBERS], (IMAGES, NUMBERS), {}),
    'keywords': (Keywords, dict(NAMED, scale=2.0, mask=None), (), dict(NAMED, scale=2.0)),
    'both': (Keywords, (IMAGES, dict(numbers=NUMBERS)), (IMAGES,), dict(numbers=NUMBERS)),
    'one list': (One, ([IMAGES, NUMBERS],), ([IMAGES, NUMBERS],), {}),
    'one list, bare': (One, [IMAGES, NUMBERS], ([IMAGES, NUMBERS],), {}),
    'one dict': (One, (NAMED,), (NAMED,), {}),
    'one dict, bare': (One, NAMED, (NAMED,), {}),
    'a data class': (One, Batch(IMAGES, NUMBERS), (Batch(IMAGES, NUMBERS),), {}),
    'a named tuple': (One, Pair(IMAGES, NUMBERS), (Pair(IMAGES, NUMBERS),), {}),
    'images of two sizes': (Unequal, (SIZES,), (SIZES,), {}),
    'images of two sizes, bare': (Unequal, SIZES, (SIZES,), {}),
}


@pytest.mark.parametrize(('kind', 'example', 'args', 'kwargs'), INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize('restorer', [None, 'MomentRestoration'])
def test_inputs_of_every_kind(kind: type, example: object, args: tuple, kwargs: dict, restorer: str | None) -> None:
    model = kind()
    dense = copy.deepcopy(model)
    report = mmprune.prune(model, example, pruner=PRUNER, restorer=restorer, clock_s=0)
    assert report.stages[-1].params < report.stages[0].params and report.stages[-1].flops < report.stages[0].flops
    assert report.input_shape in ((2, 3, 16, 16), (3, 16, 16))
    if restorer is None:
        with masked_readers(dense, record_of(model)) as masked:
            assert difference(forward(masked, *args, **kwargs), forward(model, *args, **kwargs)) < 1e-4


@pytest.mark.parametrize(
    ('kind', 'example', 'message'),
    [
        (Positional, IMAGES, r"^example_input: .* as its one argument; .*missing 1 required .* 'numbers'"),
        (Positional, (IMAGES,), r'^example_input: .* as positional arguments; .*missing'),
        (Keywords, dict(NAMED, other=1), r'^example_input: .* as keyword arguments; .*unexpected'),
        (Unequal, ([IMAGES[0, :2]],), r'^example_input: .*expected input.* to have 3 channels'),
    ],
)
def test_inputs_that_a_network_does_not_take_are_refused(kind: type, example: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        mmprune.prune(kind(), example, pruner=PRUNER)
    assert '\n' not in str(caught.value)


class Meaningful(Body):
    """Numbers that mean something: noise in their place breaks the network, or sends it another way."""

    def forward(self, images: Tensor, mask: Tensor, times: Tensor) -> Tensor:
        if not bool(((mask == 0) | (mask == 1)).all()) or not bool((times >= 0).all()):
            raise ValueError('masks are 0 or 1, times are positive')
        scores = self.maps(images * mask)[1]
        return scores * times.sqrt()[:, None, None, None]


@pytest.mark.parametrize('images', [IMAGES, torch.zeros(2, 3, 16, 16)], ids=['images', 'zeros'])
@pytest.mark.parametrize('mask', [torch.ones(2, 1, 16, 16), (IMAGES[:, :1] > 0).float()], ids=['all', 'some'])
def test_numbers_that_mean_something_stay(images: Tensor, mask: Tensor) -> None:
    model = Meaningful()
    allocator = dict(
        type='RateDistortion', ratio=0.3, curves=dict(num_images=4, points=3, cache=False, progress=False)
    )
    for pruner in (PRUNER, dict(PRUNER, allocator=allocator)):
        report = mmprune.prune(
            copy.deepcopy(model), (images, mask, torch.tensor([1.0, 4.0])), pruner=pruner, clock_s=0.01
        )
        assert report.stages[-1].params < report.stages[0].params


def network() -> nn.Sequential:
    return nn.Sequential(block(3, 16), nn.Conv2d(16, 5, 1)).eval()


def half_meta() -> nn.Module:
    model = network()
    model[1].to('meta')
    return model


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(16, 3), nn.ReLU(), nn.LazyConv2d(5, 3))


def partly_scripted() -> nn.Module:
    return nn.Sequential(torch.jit.script(block(3, 16)), nn.Conv2d(16, 5, 1)).eval()


def of_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return network()


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: torch.jit.script(network()), '^model: .* is a ScriptModule'),
        (lambda: torch.jit.trace(network(), IMAGES), '^model: .* is a ScriptModule'),
        (partly_scripted, '^model: 0 is a ScriptModule'),
        (lambda: network().to('meta'), r'^model: 0\.0\.weight is on the meta device'),
        (half_meta, r'^model: 1\.weight is on the meta device'),
        (lazy, r'^model: 0\.weight is lazy'),
        (of_inference_mode, r'^model: 0\.0\.weight was made under torch\.inference_mode'),
        (lambda: nn.Sequential(nn.ReLU()), '^model: Sequential has no parameters'),
        (lambda: torch.relu, '^model: an nn.Module, got '),
    ],
)
def test_what_holds_no_weights_is_refused(build: Callable, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mmprune.prune(build(), IMAGES, pruner=PRUNER)


def test_compiled_networks_are_pruned_inside() -> None:
    wanted, whole, in_place = network(), network(), network()
    whole.load_state_dict(wanted.state_dict())
    in_place.load_state_dict(wanted.state_dict())
    mmprune.prune(wanted, IMAGES, pruner=PRUNER, clock_s=0)
    compiled = torch.compile(whole, backend='eager')
    in_place.compile(backend='eager')
    for model in (compiled, in_place):
        model(IMAGES)
        mmprune.prune(model, IMAGES, pruner=PRUNER, clock_s=0)
        assert torch.allclose(model(IMAGES), wanted(IMAGES))


def test_a_network_without_values_gets_those_of_the_checkpoint(tmp_path: object) -> None:
    model = network()
    mmprune.prune(model, IMAGES, pruner=PRUNER, clock_s=0)
    path = mmprune.save(model, tmp_path / 'pruned.pth')
    for empty in (network().to('meta'), half_meta()):
        assert torch.equal(mmprune.load(empty, path).eval()(IMAGES), model(IMAGES))
    unknown = network().to('meta')
    unknown.register_buffer('anchors', torch.zeros(3, device='meta'), persistent=False)
    with pytest.raises(mmprune.CheckpointError, match='anchors'):
        mmprune.load(unknown, path)


@pytest.mark.slow
def test_a_detector_that_cannot_be_followed_is_pruned_in_part(tmp_path: object) -> None:
    """torchvision's detectors paste and concatenate by numbers that the network itself finds."""

    def build() -> nn.Module:
        name = 'fasterrcnn_mobilenet_v3_large_320_fpn'
        return torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()

    torch.manual_seed(0)
    detector, pictures = build(), [torch.rand(3, 160, 192), torch.rand(3, 160, 160)]
    randomise(detector)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    with pytest.raises(GraphError, match=r'mmprune\.prune\(model\.backbone, images'):
        mmprune.prune(detector, (pictures,), pruner=PRUNER, clock_s=0)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    mmprune.prune(detector.backbone, torch.rand(1, 3, 96, 96), pruner=PRUNER, restorer=None, clock_s=0)
    again = mmprune.load(build(), mmprune.save(detector, tmp_path / 'pruned.pth'))
    count = [sum(p.numel() for p in net.parameters()) for net in (build(), detector, again)]
    assert count[1] == count[2] < count[0]
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(detector(pictures)[0].values(), again(pictures)[0].values()))
