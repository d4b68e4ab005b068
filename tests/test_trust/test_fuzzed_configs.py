"""No config breaks mmprune: each is refused in a line, or works."""

import os
import random
from itertools import islice

import pytest

from mmprune.engine import prepare_config, prepare_training_config
from mmprune.errors import ConfigError
from mmprune.images import DeepInversion, PinkNoise
from mmprune.options import wrong_argument
from mmprune.pruners.channel import ChannelPruner
from mmprune.pruners.expander import ExpanderPruner
from mmprune.registry import PRUNERS, build_part
from tests.test_engine import tiny
from tests.test_trust import fuzz

SEED = int(os.environ.get('MMPRUNE_FUZZ_SEED', 0))


def test_every_option_of_every_part() -> None:
    """A sample of all options with all broken values (``make soak``: all of them)."""
    cases = list(fuzz.part_cases())
    assert len(cases) > 5000
    counts, bad = fuzz.met_badly(random.Random(SEED).sample(cases, 500))
    assert not bad, bad
    assert counts['refused'] > 400 and counts['sound'] > 5


def test_whole_pruning_dicts() -> None:
    counts, bad = fuzz.met_badly(list(islice(fuzz.pruning_cases(SEED), 150)))
    assert not bad, bad
    assert counts['refused'] > 100


def test_the_judge_knows_what_is_bad() -> None:
    """A fuzz test that cannot fail would be none."""

    def message() -> None:
        raise ConfigError('no')

    cases = [
        ('deep', lambda: {}['x']),
        ('silent', message),
        ('big', lambda: bytearray(2 * fuzz.BYTES)),
        ('fine', lambda: None),
    ]
    counts, bad = fuzz.met_badly(cases)
    assert counts == {'bad': 3, 'sound': 1}
    assert [text.partition(':')[0] for text in bad] == ['deep', 'silent', 'big']


@pytest.mark.parametrize(
    ('part', 'arguments', 'message'),
    [
        (ChannelPruner, dict(round_to='8'), "round_to: a whole number of at least 1, got '8'"),
        (ChannelPruner, dict(round_to=True), 'round_to: a whole number of at least 1, got True'),
        (ChannelPruner, dict(prune_interface=1), 'prune_interface: True or False, got 1'),
        (ChannelPruner, dict(min_channels=2.0), 'min_channels: a whole number of at least 1 or None, got 2.0'),
        (ChannelPruner, dict(keep=[1]), 'keep[0]: a text, got 1'),
        (ChannelPruner, dict(overrides={'a': float('nan')}), "overrides['a']: a number in [0, 1), got nan"),
        (ExpanderPruner, dict(degree=float('inf')), 'degree: a number above 0 or None, got inf (too large)'),
        (DeepInversion, dict(betas=(0.5,)), 'betas: a list (each a number), got (0.5,)'),
        (PinkNoise, dict(seed=10**30), 'seed: a whole number, got 1' + '0' * 30 + ' (too large)'),
        (
            ChannelPruner,
            dict(keep='*.conv1', min_channels=None, overrides={'a': 0}, criterion=dict(type='L2Norm')),
            '',
        ),
        (ChannelPruner, dict(nonsense=1), ''),
        (DeepInversion, dict(betas=[0.5, 1], phases=[dict(iterations=1)], lr=1), ''),
    ],
)
def test_kinds_of_arguments(part: type, arguments: dict, message: str) -> None:
    assert wrong_argument(part, arguments) == message


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('strategy', dict(type='FSDPStrategy'), "strategy: 'FSDPStrategy' does not work with mmprune"),
        ('strategy', dict(type='DeepSpeedStrategy', zero_optimization=dict(stage=2)), "strategy: 'DeepSpeedStrategy'"),
        ('runner_type', 'FlexibleRunner', "runner_type: 'FlexibleRunner' does not work"),
    ],
)
def test_strategies_are_refused_by_name(key: str, value: object, message: str) -> None:
    config = tiny.config('work_dirs/never')
    config[key] = value
    with pytest.raises(ConfigError, match=message):
        prepare_config(config)
    with pytest.raises(ConfigError, match=message):
        prepare_training_config(config)


def test_parts_may_be_given_built() -> None:
    pruner = build_part(PRUNERS, dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)), 'pruner')
    assert build_part(PRUNERS, pruner, 'pruner') is pruner
    for wrong in (None, 3, ChannelPruner, ['ChannelPruner']):
        with pytest.raises(ConfigError, match='pruner: a name such as'):
            build_part(PRUNERS, wrong, 'pruner')
