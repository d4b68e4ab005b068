"""Expansion, spectra, selection."""

import math
import random

import numpy as np
import pytest

from mmprune.expanders import RandomRegular, Selection, Subsets, XNet, properties_of, ramanujan_bound
from mmprune.expanders import top_singular_values as singular
from tests.oracles import expanders as literal


def regular(size, degree, seed):
    return RandomRegular().draw(size, size, degree * size, np.random.default_rng(seed))


def members(bits, samples):
    """Sets as the estimate holds them, as lists."""
    flat = np.unpackbits(bits.view(np.uint8), axis=1, count=samples)
    return [np.flatnonzero(flat[:, s]) for s in range(samples)]


@pytest.mark.parametrize('shape', [(5, 9), (40, 3), (2, 2), (1, 4), (130, 70)])
def test_ratios_are_those_of_the_definition(shape):
    rng = np.random.default_rng(1)
    graph = rng.random(shape) < 0.3
    samples = 70
    subsets = Subsets(*shape, samples, rng)
    expected = []
    for a, b in zip(members(subsets._left[0], samples), members(subsets._right[0], samples)):
        left = {o for i in a for o in np.flatnonzero(graph[i])}
        right = {i for o in b for i in np.flatnonzero(graph[:, o])}
        expected.append((len(left) / len(a) + len(right) / len(b)) / 2)
    assert subsets.ratios(graph) == pytest.approx(expected)


@pytest.mark.parametrize(('vertices', 'largest'), [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (10, 4), (11, 5)])
def test_sizes_of_the_sets(vertices, largest):
    bits, sizes = Subsets(vertices, 3, 500, np.random.default_rng(0))._left
    assert set(sizes) == set(range(1, largest + 1))
    assert [len(m) for m in members(bits, 500)] == sizes.tolist()


def test_estimate_agrees_with_the_literal_one():
    random.seed(0)
    graph = XNet().draw(20, 30, 60, np.random.default_rng(0))
    edges = set(zip(*(index.tolist() for index in np.nonzero(graph))))
    ours = Subsets(20, 30, 4000, np.random.default_rng(1)).ratios(graph)
    assert ours.mean() == pytest.approx(literal.expansion(edges, 20, 30, 4000), abs=6 * ours.std() / 4000**0.5)


def test_no_edge_no_expansion():
    assert Subsets(4, 6, 10, np.random.default_rng(0)).expansion(np.zeros((4, 6), dtype=bool)) == 0


@pytest.mark.parametrize('shape', [(8, 8), (30, 11), (11, 30), (1, 6), (6, 1)])
def test_singular_values(shape):
    graph = np.random.default_rng(0).random(shape) < 0.4
    expected = np.linalg.svd(graph.astype(float), compute_uv=False)
    assert singular(graph) == pytest.approx((expected[0], expected[1] if len(expected) > 1 else 0), abs=1e-6)


def test_ramanujan_bound():
    assert ramanujan_bound(regular(16, 5, 0)) == pytest.approx(2 * math.sqrt(4))
    assert ramanujan_bound(np.zeros((3, 4), dtype=bool)) == 0


def test_properties():
    graph = np.zeros((3, 4), dtype=bool)
    graph[0, :2] = graph[1, 0] = True
    found = properties_of(graph)
    assert (found.inputs, found.outputs, found.edges, found.density) == (3, 4, 3, 0.25)
    assert (found.unread_inputs, found.dead_outputs) == (1, 2)
    assert (found.left_degrees, found.right_degrees) == ((0, 2), (0, 2))


@pytest.mark.parametrize('by', ['expansion', 'sigma2'])
def test_the_best_candidate_is_kept(by):
    graphs = [regular(30, 3, seed) for seed in range(25)]
    queue = iter(graphs)
    best = Selection(by, candidates=25, samples=200).best(lambda: next(queue), np.random.default_rng(5))
    if by == 'sigma2':
        expected = min(range(25), key=lambda i: singular(graphs[i])[1])
    else:
        subsets = Subsets(30, 30, 200, np.random.default_rng(5))
        expected = max(range(25), key=lambda i: subsets.expansion(graphs[i]))
    assert best is graphs[expected]


def test_common_sets_tell_graphs_apart():
    """Two estimates of the same graphs correlate far better than the published 0.20 if all see the same sets."""
    graphs = [XNet().draw(64, 64, 192, np.random.default_rng(seed)) for seed in range(60)]
    first, second = (
        [Subsets(64, 64, 1000, rng).expansion(g) for g in graphs]
        for rng in (np.random.default_rng(1), np.random.default_rng(2))
    )  # one generator: other sets for each graph
    common = [
        [subsets.expansion(g) for g in graphs]
        for subsets in (Subsets(64, 64, 1000, np.random.default_rng(seed)) for seed in (3, 4))
    ]
    assert np.corrcoef(*common)[0, 1] > max(0.7, np.corrcoef(first, second)[0, 1] + 0.1)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(by='gap'), "^by: 'expansion' or 'sigma2', got 'gap'"),
        (dict(candidates=0), '^candidates: '),
        (dict(samples=2.5), '^samples: '),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        Selection(**options)
