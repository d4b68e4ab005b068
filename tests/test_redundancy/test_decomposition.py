import numpy as np
import pytest

from mmprune.criteria.redundancy import decompose, removal_levels
from mmprune.criteria.redundancy.decomposition import max_core
from tests.oracles import redundancy_graph as literal


def random_case(seed: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(30, 100, (n, n)) / 100  # many equal values, and values equal to the threshold
    similarity = np.triu(similarity, 1)
    return similarity + similarity.T + np.eye(n), rng.integers(1, 2 * n, n).astype(float)


@pytest.mark.parametrize('seed', range(12))
def test_maximum_core_is_that_of_networkx(seed):
    import networkx as nx

    similarity, _ = random_case(seed)
    for threshold in (0.5, 0.8, 0.95):
        graph = literal.graph_of(similarity, threshold)
        edges = (similarity >= threshold) & ~np.eye(len(similarity), dtype=bool)
        expected = sorted(nx.k_core(graph).nodes) if graph.number_of_edges() else []
        assert max_core(edges).tolist() == expected


@pytest.mark.parametrize('seed', range(30))
def test_survivors_are_the_literal_ones_with_ties(seed):
    similarity, l1 = random_case(seed)
    for threshold in (0.45, 0.7, 0.85, 0.97):
        assert decompose(similarity, threshold, l1).tolist() == literal.decompose(similarity, threshold, l1)


@pytest.mark.parametrize('seed', range(10))
def test_survivors_are_independent_and_isolated_units_stay(seed):
    similarity, l1 = random_case(seed)
    for threshold in (0.4, 0.7, 0.9):
        kept = decompose(similarity, threshold, l1)
        linked = (similarity >= threshold) & ~np.eye(len(similarity), dtype=bool)
        assert len(kept) and not linked[np.ix_(kept, kept)].any()
        assert set(np.flatnonzero(~linked.any(axis=1))) <= set(kept)


def test_complete_graph_keeps_the_largest_l1_norm_the_first_of_equal_ones():
    assert decompose(np.ones((6, 6)), 0.7, np.array([1, 5, 2, 5, 3, 0])).tolist() == [1]


def test_links_are_inclusive():
    similarity = np.array([[1, 4480 / 6400], [4480 / 6400, 1]])
    assert decompose(similarity, 0.7, np.array([1.0, 2.0])).tolist() == [1]
    assert decompose(similarity, 0.7001, np.array([1.0, 2.0])).tolist() == [0, 1]


@pytest.mark.parametrize('seed', range(10))
def test_a_permutation_of_the_channels_permutes_the_survivors(seed):
    similarity, _ = random_case(seed)
    rng = np.random.default_rng(seed)
    l1, order = rng.random(len(similarity)), rng.permutation(len(similarity))
    kept = decompose(similarity, 0.8, l1)
    permuted = decompose(similarity[np.ix_(order, order)], 0.8, l1[order])
    assert sorted(order[permuted]) == kept.tolist()


def test_survivors_are_not_monotone_in_the_threshold():
    """Why a target is met by a grid and not by bisection."""
    falls = 0
    for seed in range(20):
        similarity, l1 = random_case(seed, 40)
        counts = [len(decompose(similarity, t, l1)) for t in np.arange(0.6, 0.99, 0.01)]
        falls += sum(b < a for a, b in zip(counts, counts[1:]))
    assert falls > 0


def test_removal_takes_the_weaker_of_the_most_similar_pair_again_and_again():
    similarity = np.array([[1, 0.9, 0.8, 0.1], [0.9, 1, 0.7, 0.2], [0.8, 0.7, 1, 0.3], [0.1, 0.2, 0.3, 1]])
    order, levels = removal_levels(similarity, np.array([3.0, 1, 2, 0]))
    assert order.tolist() == [1, 2, 3, 0]  # 0-1 at .9, 0-2 at .8, 0-3 at .1
    assert levels.tolist() == [0.9, 0.8, 0.1, 0.1]


@pytest.mark.parametrize('seed', range(5))
def test_removal_levels_fall_and_agree_with_a_literal_loop(seed):
    rng = np.random.default_rng(seed)
    raw = np.triu(rng.random((25, 25)), 1)
    similarity, l1 = raw + raw.T, rng.random(25)
    order, levels = removal_levels(similarity, l1)
    assert (np.diff(levels) <= 0).all() and sorted(order) == list(range(25))
    alive = list(range(25))
    for unit, level in zip(order[:-1], levels):
        pairs = [(similarity[i, j], i, j) for i in alive for j in alive if i < j]
        best, i, j = max(pairs)
        assert level == best and unit == (i if l1[i] < l1[j] else j)
        alive.remove(unit)
