import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from mmprune.graph.site import Activation, Branch, Depthwise, Norm, Pool, Site
from mmprune.moments import branch_moments
from mmprune.registry import RESTORERS
from mmprune.restorers.lbyl import LBYL, layer_problem, normalised, ridge
from mmprune.restorers.lbyl_auto import mismatch_of
from mmprune.restorers.mixing import Statistics, scale_matrix
from mmprune.surgery.slicing import complement
from tests.hand_made_sites import RELU, HandMade, random_state
from tests.oracles import lbyl as oracle
from tests.test_restorers.published_outputs import NETS, cases, check

EVERY_MODE = pytest.mark.parametrize('mode', ['reference', 'exact'])


def cutting_only():
    """The limit of large penalties, which replaces nothing (and which no user may write)."""
    restorer = LBYL('exact', 0)
    restorer.lambda2 = float('inf')
    return restorer


# ---- against the published program


@pytest.mark.parametrize('net', ['lenet', 'tiny_vgg', 'tiny_resnet34'])
def test_equals_published_outputs(data_root, net):
    tags = 0
    for _, options, published, run in cases(data_root, net, 'OURS'):
        check(run(LBYL(lambda1=options.get('l1', 0.0), lambda2=options['l2'])), published, 1e-5)
        tags += 1
    assert tags >= 6


@pytest.mark.parametrize('net', ['lenet', 'tiny_vgg', 'tiny_resnet34'])
def test_plain_cut_is_bit_equal_to_published(data_root, net):
    tags = 0
    for _, _, published, run in cases(data_root, net, 'prune'):
        check(run(None), published, 0)
        check(run(cutting_only()), published, 0)
        tags += 1
    assert tags >= 3


# ---- against the literal solution


def draw_layer(seed, width, features, kept, spread=1.0):
    """Rows, norm and units; ``spread`` is the width of the log-normal laws of γ and the variance, signs are mixed."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows = normal(width, features) / features**0.5
    gamma = (spread * normal(width)).exp() * torch.where(normal(width) > -1, 1.0, -1.0)
    norm = Statistics(gamma, normal(width), normal(width), (spread * normal(width)).exp(), 1e-5)
    keep = torch.randperm(width, generator=generator)[:kept].sort().values
    return rows, norm, keep, complement(keep, width)


def literal(rows, norm, keep, removed, lambda1, lambda2, exact):
    vectors = [v.numpy() for v in (norm.gamma, norm.beta, norm.mean, norm.var)]
    solver = oracle.lbyl_exact if exact else oracle.lbyl_reference
    return torch.from_numpy(solver(rows.numpy(), vectors, keep.tolist(), removed.tolist(), lambda1, lambda2))


def relative(ours, theirs):
    return float(((ours - theirs).norm(dim=1) / theirs.norm(dim=1).clamp_min(1e-30)).max())


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('lambdas', [(1e-5, 2e-3), (0.01, 0.05), (0, 1e-4), (1e-4, 0), (0, 0), (1.0, 1e3)])
@pytest.mark.parametrize('shape', [(24, 60, 17), (40, 400, 12), (64, 64, 40)])
@pytest.mark.parametrize('spread', [0.3, 1.5, 3.0])
def test_equals_literal_solution(exact, lambdas, shape, spread):
    layer = draw_layer(sum(shape), *shape, spread=spread)
    ours = normalised(*layer, *lambdas, exact=exact)
    assert relative(ours, literal(*layer, *lambdas, exact)) < 1e-6


@pytest.mark.parametrize('exact', [False, True])
def test_equals_literal_solution_with_fewer_features_than_filters(exact):
    layer = draw_layer(3, 48, 20, 30)
    assert relative(normalised(*layer, 1e-5, 2e-3, exact=exact), literal(*layer, 1e-5, 2e-3, exact)) < 1e-6


@pytest.mark.parametrize('exact', [False, True])
def test_equals_literal_solution_with_tiny_gammas(exact):
    rows, norm, keep, removed = draw_layer(4, 32, 90, 20)
    norm.gamma[keep[:3]] = torch.tensor([1e-6, -1e-5, 1e-7], dtype=torch.float64)
    norm.gamma[removed[:3]] = torch.tensor([1e-6, -1e-5, 1e-7], dtype=torch.float64)
    norm.var[removed[3]] = 1e-9
    layer = rows, norm, keep, removed
    assert relative(normalised(*layer, 1e-5, 2e-3, exact=exact), literal(*layer, 1e-5, 2e-3, exact)) < 1e-6


@pytest.mark.parametrize('exact', [False, True])
def test_singular_systems_have_the_least_residual(exact):
    rows, norm, keep, removed = draw_layer(5, 30, 12, 20)  # 20 kept filters in 12 dimensions, no penalty
    ours = normalised(rows, norm, keep, removed, 0, 0, exact=exact)
    assert ours.isfinite().all()
    if exact:
        sigma = (norm.var + norm.eps).sqrt()
        slope = norm.gamma / sigma
        ours = ours / (slope[removed, None] / slope[keep])
    torch.testing.assert_close(ours @ rows[keep], rows[removed], rtol=0, atol=1e-9)


@pytest.mark.parametrize('lambda2', [0.3, 1e-6, 10.0])
def test_linear_form_equals_literal_solution(lambda2):
    rows, _, keep, removed = draw_layer(6, 50, 120, 30)
    theirs = oracle.lbyl_linear(rows.numpy(), keep.tolist(), removed.tolist(), lambda2)
    assert relative(ridge(rows, keep, removed, lambda2), torch.from_numpy(theirs)) < 1e-6


@EVERY_MODE
def test_whole_net_equals_literal_mixing_of_original_filters(mode):
    state = random_state([3, 10, 12, 9])
    plan = [('conv0', 'bn0', 'conv1'), ('conv1', 'bn1', 'conv2')]
    keeps = [[0, 2, 3, 6, 7, 9], [1, 2, 3, 5, 8, 10, 11]]
    ours = HandMade(state, plan).restored(LBYL(mode=mode), keeps)
    solver = oracle.lbyl_exact if mode == 'exact' else oracle.lbyl_reference
    for (producer, norm, reader), keep in zip(plan, keeps):
        weight = state[f'{producer}.weight'].double().numpy()
        removed = [i for i in range(len(weight)) if i not in keep]
        vectors = [state[f'{norm}.{k}'].double().numpy() for k in ('weight', 'bias', 'running_mean', 'running_var')]
        z = solver(weight.reshape(len(weight), -1), vectors, keep, removed, 1e-5, 2e-3)
        mixed = oracle.mix(state[f'{reader}.weight'].double().numpy(), keep, removed, z)
        inputs_kept = keeps[1] if reader == 'conv1' else slice(None)
        np.testing.assert_allclose(ours[f'{reader}.weight'].numpy(), mixed[inputs_kept], atol=1e-6)


# ---- properties


@EVERY_MODE
def test_kept_rows_are_unit_vectors_and_keeping_all_is_the_identity(mode):
    rows, norm, keep, removed = draw_layer(7, 16, 40, 10)
    z = scale_matrix(16, keep, normalised(rows, norm, keep, removed, 1e-5, 2e-3, exact=mode == 'exact'))
    assert torch.equal(z[keep], torch.eye(10, dtype=torch.float64))
    every, none = torch.arange(16), torch.empty(0, dtype=torch.long)
    coefficients = normalised(rows, norm, every, none, 1e-5, 2e-3, exact=mode == 'exact')
    assert torch.equal(scale_matrix(16, every, coefficients), torch.eye(16, dtype=torch.float64))


@EVERY_MODE
def test_huge_lambda2_is_a_plain_cut(mode):
    layer = draw_layer(8, 20, 50, 12)
    assert normalised(*layer, 1e-5, 1e12, exact=mode == 'exact').abs().max() < 1e-9
    assert not normalised(*layer, 1e-5, float('inf'), exact=mode == 'exact').any()


class Net(nn.Module):
    def __init__(self, state):
        super().__init__()
        self.hand = HandMade(state, [('conv0', 'bn0', 'conv1')])
        self.layers = nn.ModuleDict(self.hand.layers)

    def forward(self, x):
        return self.layers['conv1'](F.relu(self.layers['bn0'](self.layers['conv0'](x))))


def output_change(state, restorer, keep):
    """Largest change of the dense net's output when all but ``keep`` is cut after the repair."""
    net = Net({key: value.double() for key, value in state.items()}).eval()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    before = net(x)
    (site,) = net.hand.sites()
    restorer.prepare([site])
    assert restorer.restore_site(site, torch.tensor(keep)) == ''
    net.layers['conv1'].weight.data[:, complement(torch.tensor(keep), site.width)] = 0
    return float((net(x) - before).abs().max() / before.abs().max())


def test_duplicated_filter_is_recovered_by_exact_mode():
    state = random_state([3, 8, 5])
    for key in ('conv0.weight', 'bn0.weight', 'bn0.bias', 'bn0.running_mean', 'bn0.running_var'):
        state[key][6] = state[key][2]
    keep = [0, 1, 2, 3, 4, 5, 7]
    assert output_change(state, LBYL('exact', 0, 0), keep) < 1e-9
    assert output_change(state, LBYL('exact', 1e-12, 1e-12), keep) < 1e-9
    assert output_change(state, LBYL('reference', 1e-12, 1e-12), keep) < 1e-9
    assert output_change(state, cutting_only(), keep) > 1e-2


@pytest.mark.parametrize('lambda1', [0, 0.1])
def test_scaled_copy_with_its_own_norm_is_recovered_by_exact_mode_only(lambda1):
    state = scaled_copy(random_state([3, 8, 5]), source=2, copy=6, scale=1.7)
    keep = [0, 1, 2, 3, 4, 5, 7]
    assert output_change(state, LBYL('exact', lambda1, 0), keep) < 1e-8
    assert output_change(state, LBYL('reference', 0, 0), keep) > 1e-2


def scaled_copy(state, source, copy, scale):
    """Make a unit a scaled copy whose norm maps it to twice the source's map."""
    state = {key: value.double() for key, value in state.items()}
    state['conv0.weight'][copy] = scale * state['conv0.weight'][source]
    state['bn0.running_mean'][copy] = scale * state['bn0.running_mean'][source]
    state['bn0.running_var'][copy] = scale**2 * (state['bn0.running_var'][source] + 1e-5) - 1e-5
    state['bn0.weight'][copy] = 2 * state['bn0.weight'][source]
    state['bn0.bias'][copy] = 2 * state['bn0.bias'][source]
    return state


def test_producer_bias_moves_into_the_mean():
    state = random_state([3, 8, 5])
    moved = dict(state)
    bias = torch.randn(8)
    moved['conv0.bias'] = bias
    moved['bn0.running_mean'] = state['bn0.running_mean'] + bias
    plan, keeps = [('conv0', 'bn0', 'conv1')], [[0, 1, 4, 5, 6]]
    with_bias = HandMade(moved, plan).restored(LBYL(), keeps)
    without = HandMade(state, plan).restored(LBYL(), keeps)
    torch.testing.assert_close(with_bias['conv1.weight'], without['conv1.weight'], rtol=0, atol=1e-6)


@EVERY_MODE
def test_dead_and_negative_gammas(mode):
    rows, norm, keep, removed = draw_layer(9, 20, 60, 12)
    norm.gamma[keep[1]] = norm.gamma[removed[0]] = 0
    norm.var[keep[2]] = norm.var[removed[1]] = 0
    norm.gamma[keep[3]] = -norm.gamma[keep[3]].abs()
    norm.gamma[removed[2]] = -norm.gamma[removed[2]].abs()
    z = normalised(rows, norm, keep, removed, 1e-5, 2e-3, exact=mode == 'exact')
    assert z.isfinite().all()
    assert not z[:2].any() and not z[:, 1:3].any()
    assert z[2:, 3].all() and z[2].any()
    assert relative(z[2:], literal(rows, norm, keep, removed, 1e-5, 2e-3, mode == 'exact')[2:]) < 1e-6


@EVERY_MODE
def test_all_kept_dead_is_a_plain_cut(mode):
    rows, norm, keep, removed = draw_layer(10, 12, 30, 6)
    norm.gamma[keep] = 0
    assert not normalised(rows, norm, keep, removed, 1e-5, 2e-3, exact=mode == 'exact').any()


def test_one_kept_filter():
    layer = draw_layer(11, 9, 30, 1)
    for exact in (False, True):
        assert relative(normalised(*layer, 1e-5, 2e-3, exact=exact), literal(*layer, 1e-5, 2e-3, exact)) < 1e-6


# ---- automatic λ


def explained(rows, keep, removed, alpha):
    residual = (rows[removed] - alpha @ rows[keep]).square().sum(1)
    return float((1 - residual / rows[removed].square().sum(1)).mean())


def test_auto_gives_up_one_percent_of_what_the_kept_filters_explain():
    rows, norm, keep, removed = draw_layer(12, 40, 60, 28)
    free = explained(rows, keep, removed, normalised(rows, norm, keep, removed, 0, 1e-12))
    chosen = explained(rows, keep, removed, normalised(rows, norm, keep, removed, 'auto', 'auto'))
    assert 0.985 * free < chosen < free
    problem = layer_problem(rows, norm, keep, removed, exact=False)
    lambda1, lambda2 = problem.lambdas('auto', 'auto')
    assert lambda1 == pytest.approx(lambda2 / 200)
    stronger = explained(rows, keep, removed, normalised(rows, norm, keep, removed, 3 * lambda1, 3 * lambda2))
    assert stronger < 0.985 * free


def test_auto_of_the_linear_form_gives_up_one_percent_too():
    rows, _, keep, removed = draw_layer(13, 40, 60, 28)
    centred = rows - rows.mean(1, keepdim=True)
    free = explained(centred, keep, removed, ridge(rows, keep, removed, 0))
    chosen = explained(centred, keep, removed, ridge(rows, keep, removed, 'auto'))
    assert chosen == pytest.approx(0.99 * free, rel=1e-3)


def test_auto_does_not_depend_on_the_scale_of_the_filters():
    rows, norm, keep, removed = draw_layer(14, 30, 60, 20)
    for exact in (False, True):
        once = normalised(rows, norm, keep, removed, 'auto', 'auto', exact=exact)
        problem = layer_problem(rows, norm, keep, removed, exact)
        scaled = layer_problem(100 * rows, norm, keep, removed, exact)
        assert scaled.lambdas('auto', 'auto')[1] == pytest.approx(1e4 * problem.lambdas('auto', 'auto')[1], rel=1e-3)
        assert once.isfinite().all() and once.any()


def test_one_lambda_may_be_auto():
    layer = draw_layer(15, 30, 60, 20)
    problem = layer_problem(*layer, exact=True)
    assert problem.lambdas('auto', 2e-3) == (1e-5, 2e-3)
    assert problem.lambdas(1e-4, 'auto')[0] == 1e-4
    assert normalised(*layer, 'auto', 2e-3, exact=True).equal(normalised(*layer, 1e-5, 2e-3, exact=True))


def test_auto_survives_degenerate_layers():
    rows, norm, keep, removed = draw_layer(16, 12, 30, 8)
    zero = torch.zeros_like(rows)
    for filters in (zero, rows[:1].expand(12, -1), torch.where(torch.arange(12)[:, None] % 2 == 0, rows, 0.0)):
        for exact in (False, True):
            assert normalised(filters, norm, keep, removed, 'auto', 'auto', exact=exact).isfinite().all()
        assert ridge(filters, keep, removed, 'auto').isfinite().all()


def test_mismatch_is_the_divergence_of_the_outputs_distributions():
    bn, reader = make_norm(), nn.Conv2d(6, 4, 1, bias=False)
    site = make_site((Norm('n', bn, torch.arange(6)),), reader)
    moments = branch_moments(site, site.branches[0])
    removed, z = complement(KEEP, 6), torch.randn(2, 4, dtype=torch.float64) / 4
    mismatch = mismatch_of(site.branches, moments, KEEP, removed)
    before = reader.weight.detach().double()[:, :, 0, 0]
    after = before.clone()
    after[:, KEEP] += before[:, removed] @ z
    after[:, removed] = 0
    dense, repaired = ([w @ moments.mean, ((w @ moments.covariance) * w).sum(1).sqrt()] for w in (before, after))
    divergence = kl_divergence(Normal(*repaired), Normal(*dense))
    assert mismatch(z) == pytest.approx(float(divergence.mean()), rel=1e-9)


@EVERY_MODE
def test_auto_behind_a_norm_matches_the_outputs_about_as_well_as_any_lambda(mode):
    state = random_state([4, 20, 16])
    hand = HandMade(state, [('conv0', 'bn0', 'conv1')])
    (site,) = hand.sites()
    keep = torch.arange(0, 20, 2)
    removed = complement(keep, 20)
    moments = branch_moments(site, site.branches[0])
    mismatch = mismatch_of(site.branches, moments, keep, removed)
    rows, norm = site.producer_weight(), Statistics(*site.branches[0].chain[0].parameters(), 1e-5)
    exact = mode == 'exact'
    fixed = [normalised(rows, norm, keep, removed, v / 200, v, exact) for v in 10.0 ** torch.arange(-6, 4)]
    chosen = normalised(rows, norm, keep, removed, 'auto', 'auto', exact, mismatch)
    assert mismatch(chosen) < 1.5 * min(mismatch(z) for z in fixed)
    restorer = LBYL(mode, 'auto', 'auto')
    restorer.prepare([site])
    before = site.branches[0].read_weight()
    assert restorer.restore_site(site, keep) == ''
    want = torch.einsum('nm,not->mot', scale_matrix(20, keep, chosen), before)
    torch.testing.assert_close(site.branches[0].read_weight()[keep], want, rtol=0, atol=1e-6)


def test_auto_looks_at_the_network_as_it_was_before_any_repair():
    state = random_state([3, 10, 12, 9])
    hand = HandMade(state, [('conv0', 'bn0', 'conv1'), ('conv1', 'bn1', 'conv2')])
    keeps = [torch.arange(6), torch.arange(7)]
    sites = hand.sites()
    restorer = LBYL('exact', 'auto', 'auto')
    restorer.prepare(sites)
    restorer.restore_site(sites[0], keeps[0])
    restorer.restore_site(sites[1], keeps[1])
    alone = HandMade(state, [('conv1', 'bn1', 'conv2')]).restored(LBYL('exact', 'auto', 'auto'), keeps[1:])
    assert torch.equal(hand.layers['conv2'].weight[:, keeps[1]], alone['conv2.weight'])


# ---- ways to the readers


def make_site(chain, reader, spread=1, producer=None):
    producer = producer or nn.Conv2d(3, 6, 3, bias=False)
    width = producer.weight.shape[0]
    index = torch.arange(width * spread).reshape(width, spread)
    return Site('p', width, 'p', producer, torch.arange(width), (Branch('r', reader, index, chain),))


def make_norm(width=6):
    bn = nn.BatchNorm2d(width).eval()
    bn.weight.data.uniform_(0.5, 1.5)
    bn.bias.data.uniform_(-0.5, 0.5)
    bn.running_mean.uniform_(-0.5, 0.5)
    bn.running_var.uniform_(0.5, 1.5)
    return bn


def expected_z(site, bn, keep, linear=False):
    removed = complement(keep, site.width)
    if linear:
        return scale_matrix(site.width, keep, ridge(site.producer_weight(with_bias=True), keep, removed, 2e-3))
    norm = Statistics(*Norm('n', bn, torch.arange(site.width)).parameters(), bn.eps)
    return scale_matrix(site.width, keep, normalised(site.producer_weight(), norm, keep, removed, 1e-5, 2e-3))


def check_mixed(site, z, keep, branch=0):
    """The reader after restoration is ``Zᵀ`` times the reader before, on the kept units."""
    reader = site.branches[branch]
    before = reader.read_weight()
    restorer = LBYL()
    restorer.prepare([site])
    assert restorer.restore_site(site, keep) == ''
    want = torch.einsum('nm,not->mot', z, before)
    torch.testing.assert_close(reader.read_weight()[keep], want, rtol=0, atol=1e-6)


KEEP = torch.tensor([0, 2, 3, 5])


def test_flattened_map_is_mixed_as_a_block():
    bn = make_norm()
    site = make_site((Norm('n', bn, torch.arange(6)), RELU, Pool('max')), nn.Linear(54, 4), spread=9)
    check_mixed(site, expected_z(site, bn, KEEP), KEEP)


def test_depthwise_step_sends_the_mixing_to_the_projection():
    bn, depthwise = make_norm(), nn.Conv2d(6, 6, 3, groups=6)
    chain = (
        Norm('n', bn, torch.arange(6)),
        RELU,
        Depthwise('d', depthwise, torch.arange(6)),
        Norm('n2', make_norm(), torch.arange(6)),
        RELU,
    )
    site = make_site(chain, nn.Conv2d(6, 4, 1))
    before = depthwise.weight.clone()
    check_mixed(site, expected_z(site, bn, KEEP), KEEP)
    assert torch.equal(depthwise.weight, before)


def test_reader_of_a_concatenation_changes_only_its_own_columns():
    bn, reader = make_norm(10), nn.Conv2d(10, 4, 1)
    index = torch.tensor([4, 5, 6, 7, 8, 9])
    producer = nn.Conv2d(3, 6, 3, bias=False)
    branch = Branch('r', reader, index[:, None], (Norm('n', bn, index), RELU))
    site = Site('p', 6, 'p', producer, torch.arange(6), (branch,))
    others = reader.weight[:, :4].clone()
    norm = Statistics(*Norm('n', bn, index).parameters(), bn.eps)
    rows, removed = site.producer_weight(), complement(KEEP, 6)
    check_mixed(site, scale_matrix(6, KEEP, normalised(rows, norm, KEEP, removed, 1e-5, 2e-3)), KEEP)
    assert torch.equal(reader.weight[:, :4], others)


def test_every_norm_in_front_of_a_reader_gives_its_own_coefficients():
    norms = [make_norm(), make_norm()]
    producer = nn.Conv2d(3, 6, 3, bias=False)
    branches = tuple(
        Branch(f'r{k}', nn.Conv2d(6, 4, 1), torch.arange(6)[:, None], (Norm(f'n{k}', bn, torch.arange(6)), RELU))
        for k, bn in enumerate(norms)
    )
    site = Site('p', 6, 'p', producer, torch.arange(6), branches)
    scales = [expected_z(site, bn, KEEP) for bn in norms]
    assert not torch.allclose(*scales)
    before = [branch.read_weight() for branch in branches]
    restorer = LBYL()
    restorer.prepare([site])
    restorer.restore_site(site, KEEP)
    for branch, weight, z in zip(branches, before, scales):
        want = torch.einsum('nm,not->mot', z, weight)
        torch.testing.assert_close(branch.read_weight()[KEEP], want, rtol=0, atol=1e-6)


def test_conv_without_norm_uses_the_linear_form():
    site = make_site((RELU,), nn.Conv2d(6, 4, 1), producer=nn.Conv2d(3, 6, 3))
    check_mixed(site, expected_z(site, None, KEEP, linear=True), KEEP)


def test_norm_behind_the_activation_is_not_the_producers():
    chain = (Activation('silu', F.silu), Norm('n', make_norm(), torch.arange(6)))
    site = make_site(chain, nn.Conv2d(6, 4, 1), producer=nn.Conv2d(3, 6, 3))
    check_mixed(site, expected_z(site, None, KEEP, linear=True), KEEP)


# ---- the part's manners


def test_is_registered():
    assert RESTORERS.build({'type': 'LBYL', 'mode': 'exact'}).mode == 'exact'


@pytest.mark.parametrize(
    'wrong', [{'mode': 'paper'}, {'lambda1': -1}, {'lambda2': 'best'}, {'lambda2': None}, {'lambda2': float('inf')}]
)
def test_refuses_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=f'^{next(iter(wrong))}: '):
        LBYL(**wrong)


def test_refuses_unprepared_sites():
    with pytest.raises(RuntimeError, match='prepare'):
        LBYL().restore_site(make_site((), nn.Conv2d(6, 4, 1)), KEEP)


def test_says_what_it_cannot_repair():
    site = make_site((), nn.Conv2d(6, 4, 1), producer=nn.ConvTranspose2d(6, 6, 3))
    restorer = LBYL()
    restorer.prepare([site])
    assert 'transposed' in restorer.restore_site(site, KEEP)


def test_nets_are_all_named():
    assert set(NETS) == {'lenet', 'tiny_vgg', 'tiny_resnet34', 'resnet56'}
