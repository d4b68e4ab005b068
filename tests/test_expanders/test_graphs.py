"""Graph models: edge counts, degrees, and the statistics that were measured on the published program."""

import random

import numpy as np
import pytest

from mmprune.expanders import RandomGraph, RandomRegular, XNet, properties_of, ramanujan_bound, top_singular_values
from mmprune.expanders.base import edge_count
from tests.oracles import expanders as literal

SHAPES = [(1, 1), (1, 5), (3, 64), (64, 3), (7, 5), (16, 16), (20, 50)]
#: From the specification: inputs, outputs, edges that stay of the nominal ones, and outputs without an edge.
PUBLISHED_D3 = [
    (3, 64, 134.6, 55, 51),
    (64, 64, 189.6, 2, 4),
    (64, 128, 378, 23, 37),
    (128, 256, 762, 64, 45),
    (256, 512, 1529, 117, 106),
    (512, 512, 1534, 27, 24),
]
COLLAPSED = [
    (64, 64, 15, 868),
    (64, 64, 30, 1545),
    (64, 64, 60, 2518),
    (512, 512, 15, 7578),
    (512, 512, 60, 29025),
    (3, 64, 30, 192),
]


def draw(model, inputs, outputs, degree, seed=0):
    edges = edge_count(inputs, outputs, degree, model.side, model.multi)
    return model.draw(inputs, outputs, edges, np.random.default_rng(seed))


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize(
    'model',
    [RandomRegular(), XNet(), XNet('smaller'), RandomGraph(exact=True)],
    ids=['regular', 'xnet', 'xnet-smaller', 'random'],
)
def test_every_number_of_edges_is_met(model, shape):
    rng, pairs = np.random.default_rng(0), shape[0] * shape[1]
    for edges in {*range(0, pairs + 1, max(1, pairs // 25)), pairs}:
        graph = model.draw(*shape, edges, rng)
        assert graph.shape == shape and graph.dtype == bool and graph.sum() == edges


@pytest.mark.parametrize('shape', SHAPES)
def test_regular_graphs_have_even_degrees(shape):
    rng, pairs = np.random.default_rng(0), shape[0] * shape[1]
    for edges in range(pairs + 1) if pairs < 260 else range(0, pairs + 1, 37):
        graph = RandomRegular().draw(*shape, edges, rng)
        for axis in (0, 1):
            degrees = graph.sum(axis=axis)
            assert np.ptp(degrees) == (0 if edges % len(degrees) == 0 else 1)


@pytest.mark.parametrize(
    ('inputs', 'outputs', 'degree'),
    [(512, 512, 3), (512, 512, 60), (64, 64, 31), (64, 64, 33), (128, 256, 15), (512, 128, 3)],
)
def test_biregular_at_the_published_degrees(inputs, outputs, degree):
    graph = draw(RandomRegular(), inputs, outputs, degree)
    edges = degree * max(inputs, outputs)
    assert graph.sum() == edges
    assert set(graph.sum(axis=1)) == {edges // inputs} and set(graph.sum(axis=0)) == {edges // outputs}
    assert top_singular_values(graph)[0] == pytest.approx(edges / (inputs * outputs) ** 0.5)  # √(d1·d2), Perron


@pytest.mark.parametrize(('inputs', 'outputs', 'degree'), [(3, 64, 3), (64, 3, 30), (512, 128, 60), (10, 10, 100)])
def test_every_input_of_an_xnet_chooses_equally_many(inputs, outputs, degree):
    assert set(draw(XNet(), inputs, outputs, degree).sum(axis=1)) == {min(degree, outputs)}


def test_the_smaller_side_chooses():
    assert set(draw(XNet('smaller'), 64, 16, 3).sum(axis=0)) == {3}  # 16 outputs pick 3 inputs each
    assert set(draw(XNet('smaller'), 16, 64, 3).sum(axis=1)) == {3}


def test_choices_are_uniform():
    """Each of the six pairs out of four, 300 times a row on average; χ² with 5 degrees of freedom."""
    graph = draw(XNet(), 1800, 4, 2)
    counts = np.unique(graph @ [1, 2, 4, 8], return_counts=True)[1]
    assert len(counts) == 6 and ((counts - 300) ** 2 / 300).sum() < 25


def test_repairs_leave_no_trace():
    """Swapping prefers no pair: over many graphs all are equally frequent (σ of a frequency is 0.5 / √2000)."""
    frequency = np.mean([draw(RandomRegular(), 6, 6, 3, seed) for seed in range(2000)], axis=0)
    assert np.abs(frequency - 0.5).max() < 5 * 0.5 / 2000**0.5


@pytest.mark.parametrize(('inputs', 'outputs', 'collapsed', 'dead_xnet', 'dead_random'), PUBLISHED_D3)
def test_published_edges_and_dead_outputs(inputs, outputs, collapsed, dead_xnet, dead_random):
    many = {
        model: [draw(model, inputs, outputs, 3, seed) for seed in range(40)]
        for model in (RandomRegular(collapse=True), XNet(), RandomGraph())
    }
    regular, xnet, free = many.values()
    assert np.mean([g.sum() for g in regular]) == pytest.approx(collapsed, rel=0.015)
    assert np.mean([g.sum() for g in free]) == pytest.approx(3 * inputs, rel=0.12 if inputs == 3 else 0.02)
    dead = [np.mean([(~g.any(axis=0)).sum() for g in graphs]) for graphs in many.values()]
    nobody_chose = outputs * (1 - 3 / outputs) ** inputs
    assert dead[0] == 0
    assert dead[1] == pytest.approx(nobody_chose, rel=0.15) and abs(dead[1] - dead_xnet) < 4 + 0.15 * dead_xnet
    assert dead[2] == pytest.approx(nobody_chose, rel=0.15) and abs(dead[2] - dead_random) < 4 + 0.3 * dead_random


@pytest.mark.parametrize(('inputs', 'outputs', 'degree', 'left'), COLLAPSED)
def test_published_collapse(inputs, outputs, degree, left):
    found = np.mean([draw(RandomRegular(collapse=True), inputs, outputs, degree, s).sum() for s in range(10)])
    assert found == pytest.approx(left, rel=0.01)


@pytest.mark.parametrize(
    ('shape', 'degree', 'bound', 'published'),
    [
        ((512, 512), 3, 2.83, [(4.30, 3.90, 2.15), (3.77, 3.61, 2.26), (3.00, 2.82, 2.33)]),
        ((512, 512), 15, 7.48, [(16.10, 7.81, 5.22), (15.50, 7.57, 5.24), (14.82, 7.33, 5.28)]),
        ((512, 512), 60, 15.36, [(61.10, 14.51, 7.96), (60.45, 14.45, 7.95), (56.75, 13.98, 8.06)]),
        ((64, 64), 15, 7.48, [(15.76, 6.49, 5.30), (15.42, 6.45, 5.41), (13.64, 6.31, 5.16)]),
        ((256, 512), 3, 3.65, [(3.60, 3.43, 1.84), (3.16, 3.00, 1.85), (4.23, 3.62, 3.21)]),
    ],
)
def test_published_spectra_and_expansion(shape, degree, bound, published):
    models = (RandomGraph(), XNet(), RandomRegular(collapse=True))
    for model, (sigma1, sigma2, expansion) in zip(models, published):
        found = [properties_of(draw(model, *shape, degree, seed), seed=seed) for seed in range(5)]
        assert np.mean([p.sigma1 for p in found]) == pytest.approx(sigma1, rel=0.035)
        assert np.mean([p.sigma2 for p in found]) == pytest.approx(sigma2, rel=0.035)
        # the published figures are means of five estimates with a spread of 0.03 each; they grow with the size
        assert np.mean([p.expansion for p in found]) == pytest.approx(expansion, abs=0.03 + 0.03 * expansion)
    assert ramanujan_bound(draw(RandomRegular(), *shape, degree)) == pytest.approx(bound, abs=0.005)


@pytest.mark.parametrize(
    ('model', 'other'),
    [
        (RandomGraph(), literal.random_graph),
        (XNet(), literal.xnet),
        (RandomRegular(collapse=True), literal.random_regular),
    ],
)
@pytest.mark.parametrize('shape', [(9, 6), (6, 9)])
def test_same_distribution_as_the_literal_models(model, other, shape):
    """Edges, dead outputs and unread inputs have the same mean over 600 graphs, to five standard errors."""
    random.seed(0)
    own, theirs = [], []
    for seed in range(600):
        graph = draw(model, *shape, 2, seed)
        own.append((graph.sum(), (~graph.any(axis=0)).sum(), (~graph.any(axis=1)).sum()))
        edges = other(*shape, 2)
        theirs.append((len(edges), shape[1] - len({o for _, o in edges}), shape[0] - len({i for i, _ in edges})))
    own, theirs = np.array(own, dtype=float), np.array(theirs, dtype=float)
    error = np.sqrt((own.var(axis=0) + theirs.var(axis=0)) / 600)
    assert (np.abs(own.mean(axis=0) - theirs.mean(axis=0)) <= 5 * error + 1e-9).all()


@pytest.mark.parametrize('make', [lambda: RandomGraph(exact=1), lambda: XNet('outputs'), lambda: RandomRegular('no')])
def test_options_are_checked(make):
    with pytest.raises(ValueError, match='^(exact|chooser|collapse): .*, got '):
        make()
