"""From a target (half of the FLOPs) to the ratio that meets it."""

from __future__ import annotations

from collections.abc import Callable

#: The largest ratio that is tried: everything that may go, goes.
LARGEST_RATIO = 1 - 2**-20


def search_ratio(evaluate: Callable[[float], float], target_share: float, tol: float = 1e-4) -> float:
    """The smallest ratio that leaves at most the target.

    Widths are whole numbers, so the share falls in steps as the ratio grows, and rounding may even let it rise by a
    step; bisection finds a step that meets the target, and a look at the ratios just below finds an earlier one.

    Args:
        evaluate: Measures the share of the FLOPs (or parameters, …) that remains at a ratio in [0, 1).
        target_share: Share that may remain, in (0, 1].
        tol: How exactly the ratio is found.

    Returns:
        A ratio at which ``evaluate`` does not exceed the target.

    Raises:
        ValueError: Even the largest ratio leaves more than the target.
    """
    if not 0 < target_share <= 1:
        raise ValueError(f'the share that may remain must be in (0, 1], got {target_share!r}')
    if not 0 < tol < 1:
        raise ValueError(f'tol must be in (0, 1), got {tol!r}')

    def is_met(ratio: float) -> bool:
        # Target shares such as 0.7 are not exact in binary: a share that is equal on paper must pass.
        return evaluate(ratio) <= target_share * (1 + 1e-12)

    if is_met(0.0):
        return 0.0
    if not is_met(LARGEST_RATIO):
        raise ValueError(
            f'a share of {target_share:g} cannot be reached; at least '
            f'{evaluate(LARGEST_RATIO):.4g} remains because of min_channels, kept groups and what lies outside the '
            'groups; raise the target, lower pruner.min_channels or shorten pruner.keep'
        )
    too_little, enough = 0.0, LARGEST_RATIO
    while enough - too_little > tol:
        middle = (too_little + enough) / 2
        if is_met(middle):
            enough = middle
        else:
            too_little = middle
    return min([enough] + [r for r in (enough - i * tol for i in range(1, 5)) if r > 0 and is_met(r)])
