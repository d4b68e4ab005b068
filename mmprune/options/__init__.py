"""Options of parts: declared by the annotations of their constructors, checked here and nowhere else.

>>> class Ridge(Checked):
...     def __init__(self, lam: Positive = 1e-2, solver: Literal['exact', 'fast'] = 'exact') -> None: ...
>>> Ridge(lam=-1)
ConfigError: lam: a number above 0, got -1
>>> build(Ridge, dict(slover='fast'), 'pruning.restorer')
ConfigError: pruning.restorer.slover: unknown, did you mean 'solver'? known keys: solver, lam

A part speaks of its own options by their names (``lam: …``); whoever holds the part puts before them where it stands,
see :func:`under`. So the same mistake reads ``lam: …`` where the class is called, ``pruner.criterion.lam: …`` in
:func:`mmprune.prune`, and ``pruning.pruner.criterion.lam: …`` under a config.
"""

from mmprune.options.check import Checked, build, check_options, suggest, under, wrong_argument
from mmprune.options.kinds import (
    Bounds,
    Count,
    Fraction,
    ImageShape,
    NonNegative,
    NonNegativeCount,
    PartConfig,
    Positive,
    Ratio,
    Says,
    Share,
)

__all__ = [
    'Bounds',
    'Checked',
    'Count',
    'Fraction',
    'ImageShape',
    'NonNegative',
    'NonNegativeCount',
    'PartConfig',
    'Positive',
    'Ratio',
    'Says',
    'Share',
    'build',
    'check_options',
    'suggest',
    'under',
    'wrong_argument',
]
