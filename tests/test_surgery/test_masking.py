"""Weights outside a mask stay zero whatever trains, copies or saves them."""

import copy

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict
from torch import nn

import mmprune
from mmprune.surgery.masking import attach_mask, freeze_outside, masks, remove_masks, trained_masks


def masked_linear() -> nn.Linear:
    layer = nn.Linear(6, 4)
    attach_mask(layer, torch.arange(24).reshape(4, 6) % 3 == 0)
    return layer


def train(layer: nn.Module, optimiser: torch.optim.Optimizer, steps: int = 3) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        layer(torch.randn(5, 6)).pow(2).sum().backward()
        optimiser.step()


@pytest.mark.parametrize(
    'make',
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1),
    ],
)
def test_training_leaves_zeros(make: object) -> None:
    layer = masked_linear()
    optimiser = make(layer.parameters())
    before = layer.weight.detach().clone()
    train(layer, optimiser)
    assert not layer.weight[~layer.weight_mask].any()
    assert (layer.weight != before)[layer.weight_mask].all()
    for state in optimiser.state.values():
        assert all(not value[~layer.weight_mask].any() for value in state.values() if value.shape == (4, 6))


def test_copies_and_thawed_layers_are_masked_too() -> None:
    layer = copy.deepcopy(masked_linear())
    layer.requires_grad_(False)
    layer(torch.randn(1, 6))
    layer.requires_grad_(True)
    train(layer, torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9))
    assert not layer.weight[~layer.weight_mask].any()


@pytest.mark.parametrize('collect', [nn.Module.state_dict, get_state_dict], ids=['torch', 'mmengine'])
def test_old_momentum_reaches_no_checkpoint(collect: object) -> None:
    layer = nn.Linear(6, 4)
    optimiser = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    train(layer, optimiser)
    attach_mask(layer, torch.arange(24).reshape(4, 6) % 3 == 0)
    train(layer, optimiser, steps=1)
    assert layer.weight.data[~layer.weight_mask].any()  # momentum from before the mask
    assert not collect(layer)['weight'][~layer.weight_mask].any()


def test_a_layer_may_run_twice() -> None:
    """Heads run on every level of a pyramid: re-masking between must not disturb autograd."""
    layer = nn.Conv2d(3, 3, 3, padding=1)
    attach_mask(layer, torch.rand(3, 3, 3, 3) > 0.5)
    layer(layer(torch.randn(1, 3, 4, 4))).sum().backward()
    assert not layer.weight.grad[~layer.weight_mask].any()


def test_masks_shrink_and_go() -> None:
    layer = masked_linear()
    smaller = layer.weight_mask & (torch.arange(24).reshape(4, 6) > 12)
    attach_mask(layer, smaller)
    assert torch.equal(masks(nn.Sequential(layer))['0'], smaller)
    assert len(layer._forward_pre_hooks) == 1
    remove_masks(nn.Sequential(layer))
    assert not masks(layer) and not layer._forward_pre_hooks and set(layer.state_dict()) == {'weight', 'bias'}
    assert not layer.weight[~smaller].any()
    train(layer, torch.optim.SGD(layer.parameters(), 0.1))
    assert layer.weight[~smaller].any()


def test_a_mask_must_fit() -> None:
    with pytest.raises(ValueError, match=r'\(2, 2\) does not fit a weight of \(4, 6\)'):
        attach_mask(nn.Linear(6, 4), torch.ones(2, 2))


def test_frozen_weights_are_cut_with_their_layer() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    for index in (0, 2):
        freeze_outside(net[index], torch.rand_like(net[index].weight) > 0.5)
    mmprune.prune(
        net,
        torch.zeros(1, 3, 9, 9),
        restorer=None,
        pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)),
    )
    before = {name: net.get_submodule(name).weight.detach().clone() for name in trained_masks(net)}
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    net(torch.randn(2, 3, 9, 9)).square().sum().backward()
    optimiser.step()
    for name, mask in trained_masks(net).items():
        weight = net.get_submodule(name).weight
        assert weight.shape == mask.shape and weight.shape[0] == 4
        assert torch.equal(weight[~mask], before[name][~mask]) and (weight != before[name])[mask].any()
