"""Declared options: what they refuse, and the key that the message begins with."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from mmprune.errors import CheckpointError, ConfigError
from mmprune.options import (
    Bounds,
    Checked,
    Count,
    ImageShape,
    NonNegativeCount,
    PartConfig,
    Positive,
    Ratio,
    Share,
    build,
    check_options,
    suggest,
    under,
    wrong_argument,
)


class Solver(Checked):
    """A part with options of every kind."""

    def __init__(
        self,
        lam: Positive = 1e-2,
        mode: Literal['exact', 'fast'] = 'exact',
        shares: Mapping[str, Ratio] | None = None,
        steps: Count | None = None,
        rho: Literal['fit'] | Share = 'fit',
        sizes: Sequence[NonNegativeCount] = (),
        shape: ImageShape = (3, 8, 8),
        low: Annotated[float, Bounds(at_most=5)] = 0.0,
        inner: PartConfig | Solver | None = None,
    ) -> None:
        """Solve."""
        if steps == 7:
            raise ValueError('steps: seven is unlucky')
        if lam == 7:
            raise ValueError('give either `lam` or `rho`')
        self.lam, self.steps = lam, steps
        self.inner = build(Solver, inner, 'inner') if isinstance(inner, dict) else inner


class Wider(Solver):
    """A part that hands options on."""

    def __init__(self, width: Count = 1, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.width = width


@dataclass(frozen=True)
class Point(Checked):
    """A dataclass with options."""

    x: Count
    y: Ratio = 0.5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(lam=-1), 'lam: a number above 0, got -1'),
        (dict(lam=True), 'lam: a number above 0, got True'),
        (dict(lam=math.nan), 'lam: a number above 0, got nan'),
        (dict(lam=10**30), 'lam: a number above 0, got 1' + '0' * 30 + ' (too large)'),
        (dict(mode='fats'), "mode: 'exact' or 'fast', got 'fats'; did you mean 'fast'?"),
        (dict(mode=['fast']), "mode: 'exact' or 'fast', got ['fast']"),
        (dict(shares={'a': 0.5, 'b': 1}), "shares['b']: a number in [0, 1), got 1"),
        (dict(shares=[0.5]), 'shares: a dict or None, got [0.5]'),
        (dict(steps=0), 'steps: a whole number of at least 1 or None, got 0'),
        (dict(steps=2.0), 'steps: a whole number of at least 1 or None, got 2.0'),
        (dict(rho=0), "rho: 'fit' or a number in (0, 1], got 0"),
        (dict(sizes=[3, -1]), 'sizes[1]: a whole number of at least 0, got -1'),
        (dict(sizes='3'), "sizes: a list (each a whole number of at least 0), got '3'"),
        (dict(shape=(3, 8)), 'shape: (channels, height, width), got (3, 8)'),
        (dict(low=6), 'low: a number of at most 5, got 6'),
        (dict(inner=5), 'inner: a name or dict(type=…), Solver or None, got 5'),
    ],
)
def test_each_mistake_names_the_option_what_would_be_right_and_what_was_given(options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Solver(**options)
    assert str(caught.value) == message == wrong_argument(Solver, options)
    for key in ('restorer', 'pruning.restorer'):
        with pytest.raises(ConfigError) as caught:
            build(Solver, options, key)
        assert str(caught.value) == f'{key}.{message}'


def test_good_options_pass_by_place_by_name_and_through_subclasses() -> None:
    assert Solver(3, steps=4, rho=1, shares={'a': 0}, sizes=[0, 5], shape=[1, 2, 3]).lam == 3
    assert build(Wider, dict(width=2, lam=5), 'key').lam == 5
    assert Point(3, y=0).x == 3
    assert pickle.loads(pickle.dumps(Point(3))) == copy.deepcopy(Point(3)) == Point(3)


def test_positional_arguments_of_dataclasses_and_of_base_classes_are_checked() -> None:
    with pytest.raises(ConfigError, match='lam: a number above 0, got 0'):
        Solver(0)
    with pytest.raises(ConfigError, match='lam: a number above 0, got 0'):
        Wider(lam=0)
    with pytest.raises(ConfigError, match=r'y: a number in \[0, 1\), got 1'):
        Point(1, 1)


def test_unknown_options_are_listed_with_the_nearest_first() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Solver, dict(moed='fast'), 'pruning.restorer')
    known = 'inner, lam, low, rho, shape, shares, sizes, steps'
    assert str(caught.value) == f"pruning.restorer.moed: unknown, did you mean 'mode'? known keys: mode, {known}"
    with pytest.raises(ConfigError, match='k.wdith: unknown, .*width.*lam'):  # those of the base class, too
        build(Wider, dict(wdith=1), 'k')
    with pytest.raises(ConfigError, match='k.1: unknown; known keys'):
        build(Point, {1: 2}, 'k')
    with pytest.raises(ConfigError, match='k.x: missing'):
        build(Point, {}, 'k')
    with pytest.raises(ConfigError, match='k: a dict of options, got 5'):
        check_options(Point, 5, 'k')
    with pytest.raises(TypeError, match="unexpected keyword argument 'moed'"):
        Solver(moed='fast')


def test_suggestions_ignore_case_and_are_not_far_fetched() -> None:
    assert (
        suggest('l2norm', ['BNScale', 'L2Norm'], 'there are') == ", did you mean 'L2Norm'? there are L2Norm, BNScale"
    )
    assert suggest('Magic', ['BNScale', 'L2Norm'], 'there are') == '; there are BNScale, L2Norm'
    assert suggest(5, [], 'there are') == '; there are none'


def test_what_a_constructor_refuses_gets_the_key_before_it() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Solver, dict(steps=7), 'pruning.restorer')
    assert str(caught.value) == 'pruning.restorer.steps: seven is unlucky'
    with pytest.raises(ConfigError) as caught:
        build(Solver, dict(lam=7), 'pruning.restorer')
    assert str(caught.value) == 'pruning.restorer: give either `lam` or `rho`'


def test_keys_of_nested_parts_grow_outwards() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Solver, dict(inner=dict(inner=dict(lam=-1))), 'pruning.pruner')
    assert str(caught.value) == 'pruning.pruner.inner.inner.lam: a number above 0, got -1'


def test_later_errors_about_options_get_the_key_and_others_do_not() -> None:
    part = Solver()
    for text, expected in (
        ('lam: too small here', 'pruner.allocator.lam: too small here'),
        ("shares['x']: no such layer", "pruner.allocator.shares['x']: no such layer"),
        ('inner.lam: too small', 'pruner.allocator.inner.lam: too small'),
        ('load_from: the weights contain NaN', 'load_from: the weights contain NaN'),
        ('lam is too small', 'lam is too small'),
    ):
        with pytest.raises(ValueError, match='.') as caught, under('pruner', holder), under('allocator', part):
            raise ValueError(text)
        assert str(caught.value) == expected
    with pytest.raises(CheckpointError, match='^lam: '), under('pruner', part):
        raise CheckpointError('lam: of another kind of error')


def holder(allocator: object) -> None:
    """Functions have options, too."""


def test_signatures_and_docs_stay_as_written() -> None:
    assert list(inspect.signature(Solver).parameters)[:2] == ['lam', 'mode']
    assert inspect.signature(Solver).parameters['lam'].annotation == 'Positive'
    assert Solver.__init__.__doc__ == 'Solve.'
