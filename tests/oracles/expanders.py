"""The published graph models and their expansion estimate, written down literally: lists and sets, edge by edge."""

from __future__ import annotations

import math
import random

Edges = set[tuple[int, int]]


def random_graph(n0: int, n1: int, degree: int) -> Edges:
    """Every pair with probability degree / n1."""
    return {(i, o) for i in range(n0) for o in range(n1) if random.random() < degree / n1}


def xnet(n0: int, n1: int, degree: int) -> Edges:
    """Every input picks min(degree, n1) distinct outputs."""
    return {(i, o) for i in range(n0) for o in random.sample(range(n1), min(degree, n1))}


def random_regular(n0: int, n1: int, degree: int) -> Edges:
    """Stubs of both sides paired at random; pairs that occur twice become one."""
    count = degree * max(n0, n1)

    def stubs(vertices: int) -> list[int]:
        return [v for v in range(vertices) for _ in range(count // vertices + (v < count % vertices))]

    right = stubs(n1)
    random.shuffle(right)
    return set(zip(stubs(n0), right))


def expansion(edges: Edges, n0: int, n1: int, samples: int) -> float:
    """Mean over random subsets A and B of (|N(A)| / |A| + |N(B)| / |B|) / 2."""
    of_left: dict[int, set[int]] = {i: set() for i in range(n0)}
    of_right: dict[int, set[int]] = {o: set() for o in range(n1)}
    for i, o in edges:
        of_left[i].add(o)
        of_right[o].add(i)

    def one_side(neighbours: dict[int, set[int]]) -> float:
        size = random.randint(1, math.ceil(len(neighbours) / 2) - 1)
        reached: set[int] = set()
        for vertex in random.sample(sorted(neighbours), size):
            reached |= neighbours[vertex]
        return len(reached) / size

    return sum((one_side(of_left) + one_side(of_right)) / 2 for _ in range(samples)) / samples


def best_regular(n0: int, n1: int, degree: int, candidates: int, samples: int) -> Edges:
    """The published selection."""
    graphs = [random_regular(n0, n1, degree) for _ in range(candidates)]
    return max(graphs, key=lambda edges: expansion(edges, n0, n1, samples))
