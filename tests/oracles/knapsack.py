"""Slow, literal solutions of the knapsack that ``mmprune.allocators.knapsack`` solves."""

from itertools import product

import numpy as np


def brute_force(costs, distortions, budget):
    """``(least distortion, options)`` over all combinations that fit the budget."""
    best = (float('inf'), None)
    for options in product(*(range(len(c)) for c in costs)):
        if sum(c[o] for c, o in zip(costs, options)) <= budget:
            best = min(best, (float(sum(d[o] for d, o in zip(distortions, options))), options))
    return best


def literal_dp(sizes, grid, distortions, budget, chunk=4096):
    """The published recurrence: one state per surviving weight, all options of a chunk of states gathered at once.

    Args:
        sizes: Weights per layer.
        grid: Sparsities of the options, the same for all layers, shape (k,).
        distortions: Per layer, shape (k,).
        budget: Weights that may survive.
        chunk: States that are computed together.

    Returns:
        Options in the order of ``sizes``. The defects of the published program (skipped states, gathering of options
        that do not fit, the first layer's nearest instead of best option) are not imitated.
    """
    order = np.argsort(sizes, kind='stable')
    states = int(budget) + 1
    tables, choices = [np.zeros(states, dtype=np.float32)], []
    for layer in order:
        cost = np.floor(sizes[layer] * (1 - grid) + 1e-9).astype(np.int64)
        table, choice = np.empty(states, dtype=np.float32), np.empty(states, dtype=np.int64)
        for start in range(0, states, chunk):
            left = np.arange(start, min(start + chunk, states))[:, None] - cost[None]
            total = np.where(left >= 0, tables[-1][np.maximum(left, 0)] + distortions[layer], np.inf)
            choice[start : start + chunk] = total.argmin(axis=1)
            table[start : start + chunk] = total.min(axis=1)
        tables.append(table)
        choices.append(choice)
    options, left = np.zeros(len(sizes), dtype=np.int64), states - 1
    for layer, choice in zip(order[::-1], choices[::-1]):
        options[layer] = choice[left]
        left -= int(np.floor(sizes[layer] * (1 - grid[options[layer]]) + 1e-9))
    return options
