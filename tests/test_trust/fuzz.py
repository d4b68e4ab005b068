"""Broken input without end, and the judgement whether it was met well.

A case is met well when it is refused by an error that mmprune's tools show as one line, or leads to a sound network;
in bounded time and memory either way.
"""

import contextlib
import inspect
import io
import math
import multiprocessing
import random
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryDirectory

import torch
from mmengine.config import Config

import mmprune
from mmprune.engine import prepare_config
from mmprune.engine.cli import USER_ERRORS
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.registry import (
    ALLOCATORS,
    CRITERIA,
    DISTILLATIONS,
    GRAPHS,
    PRUNERS,
    RESTORERS,
    SYNTHESIZERS,
    Registry,
    build_part,
)
from tests.test_engine import tiny
from tests.test_trust.small import EXAMPLE, UNIFORM, assert_sound, images, network, part

SECONDS, BYTES = 20, 3 << 30
VALUES = (
    None,
    '',
    'nonsense',
    '1e-3',
    '../../etc',
    -1,
    0,
    1,
    2,
    1.5,
    -0.5,
    0.5,
    1e-30,
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    10**30,
    -(10**30),
    10**9,
    True,
    False,
    [],
    [1, 2, 3],
    ['a'],
    [None],
    [[1]],
    [math.nan],
    (),
    {},
    {'a': 1},
    {'type': 'Nope'},
    {'type': 5},
    {1: 2},
    {'flops': math.nan},
    {'flops': 0.5, 'params': 0.5},
    b'x',
    object,
)
#: Options that mean work: more of them is long, not wrong.
WORK = ('num_images', 'batch_size', 'warmup')


class TooLong(BaseException):
    """Is caught by nobody's ``except Exception``."""


def judged(case: Callable[[], None]) -> str:
    """'sound', 'refused', or what went wrong."""
    try:
        case()
    except USER_ERRORS as error:
        return 'refused' if 10 < len(str(error)) < 700 else f'says too little or too much: {error!s:.100}'
    except TooLong:
        return f'took more than {SECONDS} s'
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f'{type(error).__name__}: {error!s:.120} ({where.filename.rpartition("/")[2]}:{where.lineno})'
    return 'sound'


def met_badly(cases: Sequence[tuple[str, Callable[[], None]]]) -> tuple[Counter, list[str]]:
    """How cases were met, counted, and those met badly; in a process of its own with a limit of memory."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context('fork').Process(target=_run, args=(cases, send))
    process.start()
    send.close()
    counts, bad = Counter(), []
    for name, _ in cases:
        try:
            verdict = receive.recv()
        except EOFError:
            bad.append(f'{name}: killed the process')
            break
        counts[verdict if verdict in ('sound', 'refused') else 'bad'] += 1
        if verdict not in ('sound', 'refused'):
            bad.append(f'{name}: {verdict}')
    process.join()
    return counts, bad


def _run(cases: Sequence[tuple[str, Callable[[], None]]], send: object) -> None:
    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    torch.set_num_threads(1)
    for _, case in cases:
        torch.manual_seed(0)
        signal.alarm(SECONDS)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            verdict = judged(case)
        signal.alarm(0)
        send.send(verdict)


# ---- parts ---------------------------------------------------------------------------------------------------------


def options_of(cls: type) -> list[str]:
    """All arguments of a part, those that it passes on to its base class too."""
    names = [
        name
        for base in inspect.getmro(cls)
        if '__init__' in base.__dict__ and base is not object
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if name != 'self' and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    return list(dict.fromkeys(names))


def part_cases() -> Iterator[tuple[str, Callable[[], None]]]:
    """Every option of every part, with every value that it may not or may just have."""
    for registry in (CRITERIA, ALLOCATORS, PRUNERS, RESTORERS, GRAPHS, SYNTHESIZERS, DISTILLATIONS):
        for name, cls in sorted(registry.module_dict.items()):
            for option in (*options_of(cls), 'unknown'):
                for value in VALUES:
                    if not (option in WORK and value == 10**9):
                        yield f'{name}.{option}={value!r}', _with_option(registry, name, option, value)


def _with_option(registry: Registry, name: str, option: str, value: object) -> Callable[[], None]:
    def case() -> None:
        if registry is ALLOCATORS:
            cfg = {**part(name), **({} if option == 'target' else {'ratio': 0.5}), option: value}
            prune(dict(type='ChannelPruner', allocator=cfg))
            prune(dict(type='WeightPruner', allocator=cfg))
        elif registry is CRITERIA:
            keep = ['6'] if name == 'BNScale' else []
            prune(dict(type='ChannelPruner', allocator=UNIFORM, criterion=part(name, **{option: value}), keep=keep))
        elif registry is PRUNERS:
            needed = dict(graph='XNet', degree=2) if name == 'ExpanderPruner' else dict(allocator=UNIFORM)
            prune({**part(name), **needed, option: value})
        elif registry is RESTORERS:
            prune(dict(type='ChannelPruner', allocator=UNIFORM), restorer=part(name, **{option: value}))
        elif registry is GRAPHS:
            prune(dict(type='ExpanderPruner', graph=part(name, **{option: value}), degree=2))
        elif registry is SYNTHESIZERS:
            synthesizer = build_part(SYNTHESIZERS, part(name, **{option: value}), 'images')
            with TemporaryDirectory() as folder, contextlib.chdir(folder):
                store = synthesizer.prepare(Scope.of(network(), EXAMPLE), folder)
                assert all(bool(torch.isfinite(batch).all()) for batch in store)
        else:
            build_part(DISTILLATIONS, part(name, **{option: value}), 'distillation')

    return case


def prune(pruner: object, restorer: object = 'default', **more: object) -> None:
    """The network must be sound after it; with ``images``, whatever wants some."""
    model = network()
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        mmprune.prune(model, EXAMPLE, pruner=pruner, restorer=restorer, images=images(), **more)
    assert_sound(model)


# ---- whole configs -------------------------------------------------------------------------------------------------

#: What configs may have beside the pruner.
BASES = (
    '',
    "pruning.update(restorer=dict(type='LBYL', lambda1='auto', lambda2='auto'))",
    "pruning.update(finetune=True, schedule=dict(type='cubic', steps=2, interval=1, begin=0))",
    "pruning.update(finetune=True, schedule=dict(type='exponential', steps=2, amount=0.3, fresh_optimizer=True))",
    "pruning.update(restorer='BNRecalibration', images=dict(type='DeepInversion', num_images=8, phases=[dict("
    'iterations=2)]), num_images=8)',
    "pruning.update(finetune=True, images=dict(type='GaussianNoise', num_images=48), distillation=dict("
    "type='FeatureDistillation', weights=2, bn='eval'))",
    "pruning['pruner'] = dict(type='ExpanderPruner', graph=dict(type='XNet', chooser='inputs'), degree=2)",
    "pruning['pruner'] = dict(type='WeightPruner', allocator=dict(type='RateDistortion', target=dict(flops=0.5), "
    'curves=dict(num_images=4, points=3, cache=False)))',
    "pruning['pruner']['criterion'] = dict(type='RedundancyGraph', threshold=0.8, inputs=dict(type='PinkNoise', "
    'num_images=8))',
)


def pruning_cases(seed: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """The ``pruning`` dict of a config with one to three of its keys spoilt, read as the tools do. Never ends."""
    draw = random.Random(seed)
    while True:
        config, spoilt = tiny.config('work_dirs/never', draw.choice(BASES)), []
        for _ in range(draw.choice((1, 1, 2, 3))):
            holder, key = _somewhere(draw, config, 'pruning')
            value = draw.choice(VALUES)
            spoilt.append(f'{key}={value!r}')
            if draw.random() < 0.1:
                holder.pop(key, None)
            else:
                holder[key] = value
        yield ', '.join(spoilt), _prepared(config)


def _somewhere(draw: random.Random, config: Config, key: str) -> tuple[dict, str]:
    """A dict inside the ``pruning`` of a config, and a key to spoil."""
    holder = config
    while isinstance(holder.get(key), dict) and holder[key] and draw.random() < 0.8:
        holder = holder[key]
        key = draw.choice([*holder, *(OPTIONS if 'pruner' in holder else ('type', 'unknown'))])
        if key not in holder:
            return holder, key
    return holder, key


OPTIONS = ('restorer', 'images', 'num_images', 'finetune', 'evaluate', 'schedule', 'distillation', 'input_shape')


def _prepared(config: Config) -> Callable[[], None]:
    def case() -> None:
        prepare_config(config)
        settings = config.pruning
        if not isinstance(settings.get('images'), dict):
            prune(
                {**settings.pruner, 'keep': []} if isinstance(settings.pruner, dict) else settings.pruner,
                settings.get('restorer'),
            )

    return case


__all__ = ['VALUES', 'ConfigError', 'met_badly', 'part_cases', 'pruning_cases']
