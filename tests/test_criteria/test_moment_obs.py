import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from mmprune.criteria.moment_obs import MomentOBS
from mmprune.graph.site import Activation, Branch, Norm, Site
from mmprune.moments import branch_moments
from mmprune.registry import CRITERIA
from tests.oracles import moments as oracle


@dataclass
class Group:
    site: Site | None
    rows: tuple = ()

    def weights(self):
        return list(self.rows)


def make_site(n=9, seed=0, duplicate=False, readers=1, norm_var=None):
    torch.manual_seed(seed)
    conv, norm = nn.Conv2d(4, n, 3, bias=False).double(), nn.BatchNorm2d(n).double().eval()
    norm.weight.data.uniform_(0.5, 1.5)
    norm.bias.data.normal_()
    if duplicate:
        for value in (conv.weight.data, norm.weight.data, norm.bias.data):
            value[-1] = value[0]
    index = torch.arange(n)
    chain = (Norm('norm', norm, index), Activation('relu', F.relu))
    branches = []
    for k in range(readers):
        following = None
        if norm_var is not None:
            following = nn.BatchNorm2d(5).double().eval()
            following.running_var.copy_(norm_var)
        branches.append(Branch(f'reader{k}', nn.Conv2d(n, 5, 1).double(), index[:, None], chain, following))
    return Site('conv', n, 'conv', conv, index, tuple(branches))


def test_scores_sort_in_the_order_of_literal_elimination():
    var = torch.rand(5, dtype=torch.float64) + 9
    site = make_site(norm_var=var)
    branch = site.branches[0]
    scores = MomentOBS().scores(Group(site))
    weight = branch.read_weight() / var.sqrt()[None, :, None]
    order, costs = oracle.eliminate(weight, branch_moments(site, branch).covariance, 1e-2)
    assert scores.dtype == torch.float64 and scores.shape == (9,)
    assert scores.argsort().tolist() == order
    peaks = torch.tensor(costs, dtype=torch.float64).cummax(dim=0).values / 5
    lost = [-math.log(1 - float(peaks[: k + 1].sum())) for k in range(9)]
    assert torch.allclose(scores[order].cumsum(0), torch.tensor(lost, dtype=torch.float64))


def test_one_of_two_equal_channels_goes_first():
    scores = MomentOBS(lam=1e-8).scores(Group(make_site(duplicate=True)))
    assert int(scores.argmin()) in (0, 8)


def test_scale_of_the_reader_does_not_matter():
    site = make_site()
    before = MomentOBS().scores(Group(site))
    site.branches[0].module.weight.data.mul_(7)
    assert torch.allclose(MomentOBS().scores(Group(site)), before)


def test_two_equal_readers_cost_twice_as_much():
    one, two = make_site(), make_site(readers=2)
    for branch in two.branches:
        branch.module.load_state_dict(one.branches[0].module.state_dict())
    scores = MomentOBS().scores(Group(one))
    assert torch.allclose(MomentOBS().scores(Group(two)), 2 * scores)


def test_without_a_closed_form_channels_count_as_independent():
    site = make_site()
    alone = Site('sum', 9, branches=site.branches)
    scores = MomentOBS(lam=1e-2).scores(Group(alone))
    weight = site.branches[0].read_weight()
    weight = weight / weight.square().sum(dim=(0, 2)).sqrt()[None, :, None]
    assert scores.argsort().tolist() == weight.square().sum(dim=(1, 2)).argsort().tolist()


def test_an_error_is_diluted_by_the_readers_share_of_the_stream():
    whole = make_site(norm_var=torch.full((5,), 9, dtype=torch.float64))
    part = replace(whole, branches=(replace(whole.branches[0], share=0.01),))
    ratio = MomentOBS().scores(Group(whole)) / MomentOBS().scores(Group(part))
    assert torch.all(ratio > 99)


def test_groups_without_readers_are_scored_by_their_filters():
    rows = torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(MomentOBS().scores(Group(None, (rows,))), rows.square().sum(dim=1))


def test_is_registered():
    assert isinstance(CRITERIA.build({'type': 'MomentOBS'}), MomentOBS)


def test_measured_covariances_are_used():
    site = make_site()
    conv, norm = site.producer, site.branches[0].chain[0].module
    net = nn.Sequential(conv, norm, nn.ReLU(), site.branches[0].module)
    criterion = MomentOBS(moments='noise')
    images = criterion.images_for(torch.zeros(1, 4, 10, 10, dtype=torch.float64), None)
    criterion.prepare([Group(site)], net, images)
    measured = criterion.scores(Group(site))
    assert measured.shape == (9,) and not torch.allclose(measured, MomentOBS().scores(Group(site)))
    assert not MomentOBS(moments='noise').needs_images and MomentOBS(moments='images').needs_images
