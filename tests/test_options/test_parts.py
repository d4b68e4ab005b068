"""Every option of every registered part: mistakes are refused in a line that begins with the full key."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Iterator, Mapping

import pytest
from mmengine.registry import Registry

from mmprune.distortion.curves import CurveMeasurer
from mmprune.engine.schedule import Schedule
from mmprune.engine.settings import Settings
from mmprune.errors import ConfigError
from mmprune.expanders.selection import Selection
from mmprune.options import build, wrong_argument
from mmprune.options.signature import declared, parameters
from mmprune.registry import ALLOCATORS, CRITERIA, DISTILLATIONS, GRAPHS, PRUNERS, RESTORERS, SYNTHESIZERS, build_part

REGISTRIES = (CRITERIA, ALLOCATORS, PRUNERS, RESTORERS, GRAPHS, SYNTHESIZERS, DISTILLATIONS)


def parts() -> Iterator[tuple[Registry, str, type]]:
    """Everything registered by mmprune itself, not by other tests."""
    for registry in REGISTRIES:
        registry.import_from_location()
        for name, cls in sorted(registry.module_dict.items()):
            if cls.__module__.startswith('mmprune.'):
                yield registry, name, cls


PARTS = [pytest.param(*each, id=each[1]) for each in parts()]
OTHERS = [Schedule, Selection, CurveMeasurer, Settings]
CLASSES = [*(each[2] for each in parts()), *OTHERS]
#: Fits no option at all.
NOTHING = object()


@pytest.mark.parametrize('cls', CLASSES)
def test_every_option_is_declared(cls: type) -> None:
    known, takes_any = parameters(cls)
    assert not takes_any
    assert set(known) <= set(declared(cls)), 'an annotation is missing, or cannot be evaluated'
    for name in known:
        assert wrong_argument(cls, {name: NOTHING}).startswith(f'{name}: '), name
        assert wrong_argument(cls, {name: math.nan}).startswith(f'{name}: '), name


@pytest.mark.parametrize('cls', CLASSES)
def test_every_default_is_allowed(cls: type) -> None:
    defaults = {
        name: parameter.default
        for name, parameter in parameters(cls)[0].items()
        if parameter.default is not parameter.empty
    }
    assert wrong_argument(cls, defaults) == ''


@pytest.mark.parametrize('cls', CLASSES)
def test_no_option_is_described_by_the_name_of_a_python_type(cls: type) -> None:
    for name in parameters(cls)[0]:
        expected = wrong_argument(cls, {name: NOTHING}).partition(', got ')[0]
        assert not any(word in expected for word in ('typing', 'Annotated', 'Mapping', 'Sequence', '<')), expected


@pytest.mark.parametrize(('registry', 'name', 'cls'), PARTS)
def test_mistakes_begin_with_the_full_key(registry: Registry, name: str, cls: type) -> None:
    for option in parameters(cls)[0]:
        text = refusal(registry, {'type': name, option: NOTHING})
        assert text.startswith(f'pruning.here.{option}: ') and '\n' not in text
    text = refusal(registry, {'type': name, 'nonsense_of_mine': 1})
    assert text.startswith('pruning.here.nonsense_of_mine: unknown; known keys: ')
    text = refusal(registry, {'type': f'{name[:-1]}{name[-1] * 2}'})
    assert text.startswith('pruning.here.type: ') and f'did you mean {name!r}? there are {name}' in text


@pytest.mark.parametrize(('registry', 'name', 'cls'), PARTS)
def test_misspelt_options_are_recognised(registry: Registry, name: str, cls: type) -> None:
    for option in parameters(cls)[0]:
        text = refusal(registry, {'type': name, f'{option}{option[-1]}': 1})
        assert f'unknown, did you mean {option!r}? known keys: {option}' in text


@pytest.mark.parametrize(('registry', 'name', 'cls'), PARTS)
def test_a_class_that_is_called_checks_itself(registry: Registry, name: str, cls: type) -> None:
    for option in parameters(cls)[0]:
        with pytest.raises(ConfigError, match=rf'^{option}: '):
            cls(**{option: NOTHING})


@pytest.mark.parametrize(('registry', 'name', 'cls'), PARTS)
def test_numbers_stay_within_their_bounds(registry: Registry, name: str, cls: type) -> None:
    """No number is both too small and too large for an option: one that is bounded refuses what lies outside."""
    for option, kind in declared(cls).items():
        for bound in bounds_of(kind):
            outside = [
                *([bound.at_least - 1] if bound.at_least is not None else []),
                *([bound.above] if bound.above is not None else []),
                *([bound.at_most + 1] if bound.at_most is not None else []),
                *([bound.below] if bound.below is not None else []),
            ]
            for value in outside:
                assert wrong_argument(cls, {option: value}).startswith(f'{option}: '), (option, value)


@pytest.mark.parametrize(('registry', 'name', 'cls'), PARTS)
def test_signatures_show_every_option(registry: Registry, name: str, cls: type) -> None:
    shown = inspect.signature(cls).parameters
    assert all(p.kind is not p.VAR_POSITIONAL for p in shown.values())
    documented = '\n'.join(base.__init__.__doc__ or '' for base in inspect.getmro(cls) if '__init__' in vars(base))
    assert all(f'{option}: ' in documented for option in parameters(cls)[0])


@pytest.mark.parametrize(
    ('pruning', 'message'),
    [
        (dict(criterion=dict(type='MomentOBS', lam=-1)), 'pruning.pruner.criterion.lam: a number above 0, got -1'),
        (dict(criteron='L2Norm'), "pruning.pruner.criteron: unknown, did you mean 'criterion'? known keys: criterion"),
        (dict(criterion=dict(type='L2Nrom')), "pruning.pruner.criterion.type: criterion 'L2Nrom' is unknown, did you"),
        (dict(allocator=dict(type='Uniform')), 'pruning.pruner.allocator: give either `ratio`'),
        (
            dict(allocator=dict(type='RateDistortion', ratio=0.5, curves=dict(point=3))),
            "pruning.pruner.allocator.curves.point: unknown, did you mean 'points'?",
        ),
        (
            dict(allocator=dict(type='RateDistortion', ratio=0.5, curves=dict(points=0))),
            'pruning.pruner.allocator.curves.points: a whole number of at least 1, got 0',
        ),
    ],
)
def test_keys_of_parts_within_parts(pruning: Mapping, message: str) -> None:
    allocator = dict(type='Uniform', ratio=0.5)
    with pytest.raises(ConfigError) as caught:
        build(Settings, dict(pruner=dict(type='ChannelPruner', **{'allocator': allocator, **pruning})), 'pruning')
    assert str(caught.value).startswith(message)


def refusal(registry: Registry, cfg: dict) -> str:
    """What is said about a part's dict under ``pruning.here``."""
    with pytest.raises(ConfigError) as caught:
        build_part(registry, cfg, 'pruning.here')
    return str(caught.value)


def bounds_of(kind: object) -> Iterator:
    """The bounds anywhere in an option's own annotation, not in those of its items."""
    if hasattr(kind, '__metadata__'):
        yield from (mark for mark in kind.__metadata__ if hasattr(mark, 'at_least'))
    elif typing.get_origin(kind) is typing.Union or type(kind).__name__ == 'UnionType':
        members = [list(bounds_of(member)) for member in typing.get_args(kind)]
        numbers = [member for member in typing.get_args(kind) if member in (int, float)]
        if sum(map(bool, members)) == 1 and not numbers:
            yield from next(filter(None, members))
