"""Cutting layers: the right slices, the right attributes, and the same Parameter objects."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.surgery.masking import attach_mask
from mmprune.surgery.slicing import Undo, complement, keep_inputs, keep_outputs, widths

KEEP = torch.tensor([0, 2, 3])


def cut(function, module, keep=KEEP):
    before = {name: id(p) for name, p in module.named_parameters()}
    undo = Undo()
    function(module, keep, undo)
    undo.make_final()
    assert before == {name: id(p) for name, p in module.named_parameters()}
    return module


def test_outputs_of_a_conv():
    conv = nn.Conv2d(5, 6, 3)
    weight, bias = conv.weight.detach().clone(), conv.bias.detach().clone()
    cut(keep_outputs, conv)
    assert torch.equal(conv.weight, weight[KEEP]) and torch.equal(conv.bias, bias[KEEP])
    assert (conv.out_channels, conv.in_channels) == (3, 5) and conv(torch.zeros(1, 5, 4, 4)).shape[1] == 3


def test_inputs_of_a_conv():
    conv = nn.Conv2d(5, 6, 3)
    weight = conv.weight.detach().clone()
    cut(keep_inputs, conv)
    assert torch.equal(conv.weight, weight[:, KEEP]) and (conv.out_channels, conv.in_channels) == (6, 3)
    assert conv.bias.numel() == 6 and conv(torch.zeros(1, 3, 4, 4)).shape[1] == 6


def test_linear_layers():
    linear = nn.Linear(5, 6)
    weight = linear.weight.detach().clone()
    cut(keep_outputs, linear)
    cut(keep_inputs, linear, torch.tensor([1, 4]))
    assert torch.equal(linear.weight, weight[KEEP][:, [1, 4]])
    assert (linear.out_features, linear.in_features) == (3, 2) == widths(linear)


@pytest.mark.parametrize('norm', [nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm])
def test_batch_norms(norm):
    norm = norm(6)
    norm.running_mean.copy_(torch.arange(6))
    cut(keep_outputs, norm)
    assert norm.running_mean.tolist() == [0, 2, 3] and norm.num_features == 3 == len(norm.weight) == len(norm.bias)
    assert len(norm.running_var) == 3 and norm.num_batches_tracked == 0


def test_norms_without_statistics_or_scale():
    norm = cut(keep_outputs, nn.BatchNorm2d(6, affine=False, track_running_stats=False))
    assert norm.num_features == 3 and norm.weight is None and norm.running_mean is None


def test_prelu_and_depthwise_convs():
    assert cut(keep_outputs, nn.PReLU(6)).num_parameters == 3
    conv = cut(keep_outputs, nn.Conv2d(6, 6, 3, groups=6))
    assert (conv.in_channels, conv.out_channels, conv.groups) == (3, 3, 3) and conv.weight.shape == (3, 1, 3, 3)
    assert conv(torch.zeros(1, 3, 4, 4)).shape[1] == 3


def test_transposed_convs():
    conv = nn.ConvTranspose2d(5, 6, 2)
    weight = conv.weight.detach().clone()
    cut(keep_outputs, conv)
    cut(keep_inputs, conv, torch.tensor([1, 4]))
    assert torch.equal(conv.weight, weight[[1, 4]][:, KEEP])
    assert conv(torch.zeros(1, 2, 4, 4)).shape[1] == 3


def test_grouped_convs_lose_the_same_positions_in_every_group():
    conv = nn.Conv2d(8, 6, 3, groups=2)
    weight = conv.weight.detach().clone()
    with pytest.raises(ValueError, match='groups=2 must lose the same positions in every group'):
        keep_inputs(conv, torch.tensor([0, 1, 4, 6]), Undo())
    cut(keep_inputs, conv, torch.tensor([0, 2, 4, 6]))
    assert torch.equal(conv.weight, weight[:, [0, 2]]) and conv.in_channels == 4
    cut(keep_outputs, conv, torch.tensor([0, 1, 3, 4]))
    assert conv(torch.zeros(1, 4, 4, 4)).shape[1] == 4


def test_masks_are_cut_along():
    conv = nn.Conv2d(5, 6, 3)
    mask = torch.rand(6, 5, 3, 3) > 0.5
    attach_mask(conv, mask)
    cut(keep_outputs, conv)
    cut(keep_inputs, conv, torch.tensor([1, 4]))
    assert torch.equal(conv.weight_mask, mask[KEEP][:, [1, 4]])
    conv(torch.zeros(1, 2, 4, 4))


def test_undo_brings_back_the_very_tensors():
    conv, undo = nn.Conv2d(5, 6, 3), Undo()
    data = conv.weight.data_ptr()
    keep_outputs(conv, KEEP, undo)
    keep_inputs(conv, torch.tensor([1, 4]), undo)
    undo.take_back()
    assert conv.weight.data_ptr() == data and (conv.out_channels, conv.in_channels) == (6, 5)


def test_stale_gradients_go():
    conv = nn.Conv2d(5, 6, 3)
    conv(torch.rand(1, 5, 4, 4)).sum().backward()
    cut(keep_outputs, conv)
    assert conv.weight.grad is None and conv.bias.grad is None


def test_complement():
    assert complement(torch.tensor([1, 4]), 6).tolist() == [0, 2, 3, 5]
    assert complement(torch.tensor([0, 2, 3, 5]), 6).tolist() == [1, 4]


@pytest.mark.parametrize('make', [lambda p: torch.optim.SGD(p, 0.1), lambda p: torch.optim.Adam(p, 0.1)])
def test_an_optimizer_made_before_goes_on(make):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    optimizer = make([dict(params=net[0].parameters(), lr=0.2), dict(params=net[1:].parameters())])
    held = [id(p) for group in optimizer.param_groups for p in group['params']]
    images = torch.randn(2, 3, 8, 8)
    loss = net(images).square().mean()  # a graph of the dense network that someone still holds
    loss.backward()
    optimizer.step()
    optimizer.state.clear()
    ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)).plan(Scope.of(net, images)).apply()
    assert loss.grad_fn is not None
    assert held == [id(p) for p in net.parameters()]
    before = copy.deepcopy(net.state_dict())
    net(images).square().mean().backward()
    optimizer.step()
    assert net[0].weight.shape == (4, 3, 3, 3) == net[0].weight.grad.shape
    assert not torch.equal(before['0.weight'], net[0].weight) and not torch.equal(before['3.weight'], net[3].weight)


def test_no_activation_outlives_the_plan():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(weakref.ref(x))
            return x

    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), Spy(), nn.Conv2d(8, 4, 3))
    gc.collect()
    gc.disable()
    try:
        plan = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)).plan(Scope.of(net, torch.randn(2, 3, 8, 8)))
        assert plan.groups[0].site.branches and len(seen) >= 2
        assert not any(reference() is not None for reference in seen)
    finally:
        gc.enable()


def test_parameters_stay_contiguous_and_channels_last_is_not_broken():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)).plan(Scope.of(net, images)).apply()
    assert net(images).shape == (2, 4, 4, 4)


def test_half_precision_models():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).bfloat16()
    ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.5)).plan(Scope.of(net, torch.randn(2, 3, 8, 8))).apply()
    assert net[0].weight.dtype == torch.bfloat16 and net[2].in_channels == 4
