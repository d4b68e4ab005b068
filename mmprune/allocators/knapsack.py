"""The knapsack of rate-distortion allocation: one option per layer, least distortion within a budget.

All solvers share the interface of :func:`solve`. ``dp`` is the default: costs are rounded up to buckets, so that its
time does not depend on how many weights there are; ``exact`` is the same with buckets of the costs' greatest common
divisor; ``hull`` walks down the convex hulls of the curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

METHODS = ('dp', 'exact', 'hull')
#: Entries of the exact solver's tables (8 bytes each) that are still reasonable.
MAX_TABLE = 2**28


def solve(
    costs: Sequence[np.ndarray],
    distortions: Sequence[np.ndarray],
    budget: float,
    method: str = 'dp',
    buckets: int = 20_000,
) -> np.ndarray:
    """One option per layer with the least sum of distortions among those whose costs fit the budget.

    Args:
        costs: Per layer the cost of every option, shape ``(k_l,)``, finite, >= 0, in any unit.
        distortions: Per layer the distortion of every option, shape ``(k_l,)``, finite.
        budget: Upper bound for the sum of the costs of the chosen options.
        method: 'dp' (bucketed dynamic programming, never worse than 'hull'), 'exact' (whole-number costs only) or
            'hull' (fastest).
        buckets: Resolution of 'dp': the budget is divided into that many.

    Returns:
        Index of the chosen option per layer, shape ``(L,)``.

    Raises:
        ValueError: Not even the cheapest options fit the budget, or the input is malformed.

    Example:
        >>> solve([np.array([8, 4, 0]), np.array([6, 3, 0])], [np.array([0, 1, 9]), np.array([0, 2, 4])], 8)
        array([1, 1])
    """
    costs = [np.asarray(c, dtype=np.float64) for c in costs]
    distortions = [np.asarray(d, dtype=np.float64) for d in distortions]
    _check(costs, distortions, method, buckets)
    cheapest = np.array([c.min() for c in costs])
    # A budget such as (1 - 0.3) * 10 falls short of 7 by rounding only: the slack forgives that.
    slack = 1e-12 * abs(budget)
    spare = budget + slack - cheapest.sum()
    if spare < 0:
        raise ValueError(f'the cheapest options cost {cheapest.sum():g} together, more than the budget of {budget:g}')
    # What a layer costs beyond its cheapest option: so the cheapest is free, and always feasible in whole buckets.
    extra = [c - low for c, low in zip(costs, cheapest)]
    spare = min(spare, sum(c.max() for c in extra))
    if method == 'exact':
        options = _solve_exact(extra, distortions, spare)
    else:
        options = _spend_rest(_solve_hull(extra, distortions, spare), extra, distortions, spare)
        if method == 'dp':
            bucketed = _spend_rest(_solve_buckets(extra, distortions, spare, buckets), extra, distortions, spare)
            options = min(options, bucketed, key=lambda o: total(distortions, o))
    assert total(extra, options) <= spare + slack, 'the solver spent more than the budget'
    return options


def total(values: Sequence[np.ndarray], options: np.ndarray) -> float:
    """Sum over the layers of ``values[l][options[l]]``."""
    return float(sum(v[o] for v, o in zip(values, options)))


def _check(costs: list[np.ndarray], distortions: list[np.ndarray], method: str, buckets: int) -> None:
    if method not in METHODS:
        raise ValueError(f'solver must be one of {", ".join(METHODS)}, got {method!r}')
    if buckets < 1:
        raise ValueError(f'buckets must be at least 1, got {buckets}')
    if len(costs) != len(distortions):
        raise ValueError(f'{len(costs)} layers have costs, but {len(distortions)} have distortions')
    for i, (c, d) in enumerate(zip(costs, distortions)):
        if c.ndim != 1 or c.shape != d.shape or not c.size:
            raise ValueError(
                f'layer {i}: costs of shape {c.shape} and distortions of shape {d.shape}; need (k,) twice'
            )
        if not (np.isfinite(c).all() and np.isfinite(d).all() and (c >= 0).all()):
            raise ValueError(f'layer {i}: costs must be finite and >= 0, distortions finite')


def _solve_buckets(costs: list[np.ndarray], distortions: list[np.ndarray], budget: float, buckets: int) -> np.ndarray:
    unit = _common_divisor(costs)
    if not unit or budget // unit > buckets:
        unit = budget / buckets
    if not unit:  # nothing to spend: options without cost only
        return _min_plus([np.where(c > 0, 1, 0) for c in costs], distortions, 0)
    return _min_plus([np.ceil(c / unit).astype(np.int64) for c in costs], distortions, int(budget // unit))


def _solve_exact(costs: list[np.ndarray], distortions: list[np.ndarray], budget: float) -> np.ndarray:
    unit = _common_divisor(costs)
    if not unit:
        raise ValueError("solver='exact' needs costs that are whole numbers; use 'dp' or 'hull'")
    capacity = int(budget // unit)
    if capacity * len(costs) > MAX_TABLE:
        raise ValueError(
            f"solver='exact' would need a table of {capacity * len(costs):.2g} entries "
            f"(at most {MAX_TABLE:.2g}); use 'dp', which costs less than 1 % in the objective"
        )
    return _min_plus([np.rint(c / unit).astype(np.int64) for c in costs], distortions, capacity)


def _common_divisor(costs: list[np.ndarray]) -> float:
    """Greatest common divisor of all costs (1 if all are zero), or 0 where they are no whole numbers."""
    joined = np.concatenate(costs)
    if (joined != np.rint(joined)).any() or joined.max() >= 2**62:
        return 0.0
    return float(np.gcd.reduce(joined.astype(np.int64)) or 1)


def _min_plus(costs: list[np.ndarray], distortions: list[np.ndarray], capacity: int) -> np.ndarray:
    """Dynamic programming over whole-number costs: ``best[j]`` is the least distortion at a cost of at most ``j``."""
    tables = np.zeros((len(costs) + 1, capacity + 1))
    scratch = np.empty(capacity + 1)
    offered = [_undominated(c, d) for c, d in zip(costs, distortions)]
    offered = [options[costs[layer][options] <= capacity] for layer, options in enumerate(offered)]
    for layer, options in enumerate(offered):
        before, best = tables[layer], tables[layer + 1]
        best[:] = np.inf
        for start, distortion in zip(costs[layer][options].tolist(), distortions[layer][options].tolist()):
            reach = np.add(before[: capacity + 1 - start], distortion, out=scratch[start:])
            np.minimum(best[start:], reach, out=best[start:])
    # Which option was the best is asked again on the way back, at one state per layer, instead of stored for all.
    chosen, left = np.zeros(len(costs), dtype=np.int64), capacity
    for layer in range(len(costs) - 1, -1, -1):
        options = offered[layer]
        options = options[costs[layer][options] <= left]
        rest = left - costs[layer][options]
        best = np.argmin(tables[layer, rest] + distortions[layer][options])
        chosen[layer], left = options[best], int(rest[best])
    return chosen


def _undominated(costs: np.ndarray, distortions: np.ndarray) -> np.ndarray:
    """Options, by ascending cost, that have less distortion than every cheaper one."""
    order = np.lexsort((distortions, costs))
    lowest = np.minimum.accumulate(distortions[order])
    return order[np.concatenate([[True], distortions[order][1:] < lowest[:-1]])]


def _solve_hull(costs: list[np.ndarray], distortions: list[np.ndarray], budget: float) -> np.ndarray:
    """Takes the hull segments of all layers by falling gain per cost; a layer ends at its first that does not fit."""
    hulls = [_lower_hull(c, d) for c, d in zip(costs, distortions)]
    options = np.array([hull[0] for hull in hulls])
    gains, prices, owners, targets = [], [], [], []
    for layer, hull in enumerate(hulls):
        price = np.diff(costs[layer][hull])
        gains.append(-np.diff(distortions[layer][hull]) / price)
        prices.append(price)
        owners.append(np.full(len(price), layer))
        targets.append(hull[1:])
    gain, price, owner, target = map(np.concatenate, (gains, prices, owners, targets))
    closed = np.zeros(len(costs), dtype=bool)
    for i in np.argsort(-gain, kind='stable'):
        if closed[owner[i]]:
            continue
        if price[i] > budget:
            closed[owner[i]] = True
            continue
        options[owner[i]] = target[i]
        budget -= price[i]
    return options


def _lower_hull(costs: np.ndarray, distortions: np.ndarray) -> np.ndarray:
    """Options on the lower convex hull of a curve, by ascending cost and falling distortion."""
    hull: list[int] = []
    for option in _undominated(costs, distortions):
        while len(hull) > 1:
            a, b = hull[-2:]
            rise = (distortions[b] - distortions[a]) * (costs[option] - costs[a])
            if rise < (distortions[option] - distortions[a]) * (costs[b] - costs[a]):
                break
            hull.pop()
        hull.append(option)
    return np.array(hull)


def _spend_rest(
    options: np.ndarray, costs: list[np.ndarray], distortions: list[np.ndarray], budget: float
) -> np.ndarray:
    """Improves single layers, the greatest gain first, as long as the rest of the budget pays for it."""
    width = max(map(len, costs))
    cost = np.stack([np.pad(c, (0, width - len(c)), constant_values=np.inf) for c in costs])
    distortion = np.stack([np.pad(d, (0, width - len(d)), constant_values=np.inf) for d in distortions])
    options, rows = options.copy(), np.arange(len(costs))
    while True:
        here = cost[rows, options]
        gain = distortion[rows, options][:, None] - distortion
        gain[cost > (budget - (here.sum() - here))[:, None]] = 0
        layer, option = np.unravel_index(gain.argmax(), gain.shape)
        if gain[layer, option] <= 0:
            return options
        options[layer] = option
