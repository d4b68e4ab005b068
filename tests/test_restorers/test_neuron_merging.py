import pytest
import torch
from torch import nn

from mmprune.registry import RESTORERS
from mmprune.restorers.mixing import Filters
from mmprune.restorers.neuron_merging import NeuronMerging
from tests.hand_made_sites import random_state
from tests.oracles import lbyl as oracle
from tests.test_restorers.published_outputs import NETS, cases, check
from tests.test_restorers.test_lbyl import KEEP, draw_layer, make_site, output_change, scaled_copy

MODES = ['reference', 'std', 'corrected']


@pytest.mark.parametrize('net', NETS)
def test_equals_published_outputs(data_root, net):
    tags = 0
    for _, options, published, run in cases(data_root, net, 'merge'):
        check(run(NeuronMerging(threshold=options['t'], lam=options.get('lam', 0.85))), published, 1e-5)
        tags += 1
    assert tags >= 2


def coefficients(restorer, rows, norm, keep, removed, bias=None):
    return restorer.coefficients(None, Filters(rows, bias), norm, keep, removed, ())


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('threshold', [0, 0.1, 0.3, 1])
@pytest.mark.parametrize('shape', [(24, 60, 17), (40, 27, 12), (9, 30, 1)])
def test_equals_literal_loop(mode, threshold, shape):
    layer = draw_layer(sum(shape), *shape)
    rows, norm, keep, removed = layer
    vectors = [v.numpy() for v in (norm.gamma, norm.beta, norm.mean, norm.var)]
    theirs = oracle.merge_conv(rows.numpy(), vectors, keep.tolist(), removed.tolist(), threshold, 0.85, mode)
    ours = coefficients(NeuronMerging(mode, threshold), *layer)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-10, atol=0)
    assert bool(ours.any()) == (threshold in (0, 0.1) or threshold == 0.3 and bool(theirs.any()))


@pytest.mark.parametrize('threshold', [0, 0.1, 0.3])
def test_linear_form_equals_literal_loop(threshold):
    rows, _, keep, removed = draw_layer(2, 30, 40, 18)
    theirs = oracle.merge_linear(rows.numpy(), keep.tolist(), removed.tolist(), threshold)
    ours = coefficients(NeuronMerging(threshold=threshold), rows[:, :-1], None, keep, removed, bias=rows[:, -1])
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-10, atol=0)


def test_every_removed_filter_has_at_most_one_partner():
    layer = draw_layer(3, 30, 40, 18)
    assert ((coefficients(NeuronMerging(threshold=0), *layer) != 0).sum(1) == 1).all()


def test_scaled_copy_with_its_own_norm_is_recovered_by_corrected_mode_only():
    state = scaled_copy(random_state([3, 8, 5]), source=2, copy=6, scale=1.7)
    keep = [0, 1, 2, 3, 4, 5, 7]
    assert output_change(state, NeuronMerging('corrected'), keep) < 1e-8
    assert output_change(state, NeuronMerging('reference'), keep) > 1e-2


def test_exact_duplicate_is_recovered_by_every_mode():
    state = random_state([3, 8, 5])
    for key in ('conv0.weight', 'bn0.weight', 'bn0.bias', 'bn0.running_mean', 'bn0.running_var'):
        state[key][6] = state[key][2]
    for mode in MODES:
        assert output_change(state, NeuronMerging(mode), [0, 1, 2, 3, 4, 5, 7]) < 1e-9


@pytest.mark.parametrize('mode', MODES)
def test_dead_units_and_negative_gammas(mode):
    rows, norm, keep, removed = draw_layer(9, 20, 60, 12)
    norm.gamma[keep[1]] = norm.gamma[removed[0]] = 0
    norm.var[keep[2]] = norm.var[removed[1]] = 0
    norm.gamma[removed[2]] = -norm.gamma[removed[2]].abs()
    rows[keep[4]] = 0
    z = coefficients(NeuronMerging(mode, threshold=0), rows, norm, keep, removed)
    assert z.isfinite().all()
    assert not z[:2].any() and not z[:, [1, 2, 4]].any()
    assert (z[2:] != 0).any(1).all()


def test_threshold_of_one_cuts_only():
    site = make_site((), nn.Conv2d(6, 4, 1), producer=nn.Conv2d(3, 6, 3))
    site.producer.weight.data[1] = site.producer.weight.data[0]
    site.producer.bias.data[1] = site.producer.bias.data[0]
    before = site.branches[0].module.weight.clone()
    restorer = NeuronMerging(threshold=1)
    restorer.prepare([site])
    assert restorer.restore_site(site, KEEP) == ''
    assert torch.equal(site.branches[0].module.weight, before)


def test_is_registered():
    assert RESTORERS.build({'type': 'NeuronMerging', 'mode': 'std', 'threshold': 0.2}).threshold == 0.2


@pytest.mark.parametrize('wrong', [{'mode': 'paper'}, {'lam': 2}])
def test_refuses_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=f'^{next(iter(wrong))}: '):
        NeuronMerging(**wrong)
