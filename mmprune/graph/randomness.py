"""Random numbers that are the same in two runs of a network, whatever the widths of its tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: What every number between 0 and 1, and every standard normal one, is replaced by.
DRAWN = 0.37


def _uniform(low: float, high: float) -> float:
    return low + DRAWN * (high - low)


#: Operations without a tensor among their parameters: what they fill a tensor with.
CONSTANT: dict[str, Callable[..., float]] = {
    'rand': lambda *_: DRAWN,
    'rand_like': lambda *_: DRAWN,
    'randn': lambda *_: DRAWN,
    'randn_like': lambda *_: DRAWN,
    'uniform_': lambda low=0.0, high=1.0: _uniform(low, high),
    'normal_': lambda mean=0.0, std=1.0: mean + DRAWN * std,
    'exponential_': lambda rate=1.0: 1 / rate,
    'bernoulli_': lambda p=0.5: float(not isinstance(p, Tensor) and p > 0),
}


class SameForAllChannels(TorchDispatchMode):
    """Draws one number for all elements of a tensor, and drops nothing.

    A sliced network asks for fewer numbers than the dense one; seeded alike, the two would still see different ones.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation; if it draws numbers, make them alike."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name == 'native_dropout':
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if name == 'bernoulli' and len(args) == 1:
            return (args[0] > DRAWN).to(args[0])
        if name == 'normal' and any(isinstance(arg, Tensor) for arg in args):
            return args[0] + DRAWN * args[1]
        if name.startswith('rrelu'):
            return F.leaky_relu(args[0], sum(args[2:4] or (1 / 8, 1 / 3)) / 2)
        drawn = func(*args, **kwargs)
        if name == 'bernoulli_' and len(args) > 1 and isinstance(args[1], Tensor):
            return drawn.copy_(args[1] > DRAWN)
        if name in CONSTANT and drawn.is_floating_point():
            parameters = args[1:] if name.endswith('_') else ()
            drawn.fill_(CONSTANT[name](*parameters))
        return drawn


@contextmanager
def same_numbers() -> Iterator[None]:
    """Every generator seeded alike, tensors of one random number each; the generators are put back on exit."""
    plain, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(), SameForAllChannels():
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)
