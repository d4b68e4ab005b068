"""How much every supervision point counts: DFBF's twelve methods."""

from __future__ import annotations

#: Method → (a, b): the k-th of N points weighs a + b·k/N.
METHODS = {0: (1, 0), 1: (0, 1), 2: (1, 1), 3: (2, 1), **{4 + i: (1, 2 + i) for i in range(7)}, 11: (0, 6)}


def term_weights(method: int, count: int) -> list[float]:
    """Weights of the points, in forward order.

    Args:
        method: 0 … 11; 0 weighs all points alike, the others favour late ones.
        count: Number of points N.

    Returns:
        N weights ``w_k = a + b·k/N``, k = 1 … N.

    Raises:
        ValueError: There is no such method.

    Example:
        >>> term_weights(2, 4)
        [1.25, 1.5, 1.75, 2.0]
    """
    if type(method) is not int or method not in METHODS:
        raise ValueError(f'weights: a method from 0 to {max(METHODS)}, got {method!r}')
    offset, slope = METHODS[method]
    return [offset + slope * k / count for k in range(1, count + 1)]
