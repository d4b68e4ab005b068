"""WeightPruner: masks that hold through training, checkpoints and export."""

import copy

import pytest
import torch
from torch import nn

import mmprune
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.measure.complexity import measure, module_flops
from mmprune.pruners import WeightPruner
from mmprune.surgery.masking import masks, remove_masks


def make():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 6, 1),
        nn.Flatten(),
        nn.Linear(6 * 36, 5),
    )


@pytest.fixture
def net():
    return make()


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def prune(net, images, ratio=0.5, target=None, allocator='Uniform', fraction=1.0, before=None, **options):
    allocator = dict(type=allocator, **(dict(target=target) if target else dict(ratio=ratio)))
    plan = WeightPruner(allocator, **options).plan(Scope.of(net, images), None, fraction, before)
    plan.apply()
    return {row.name: row.after for row in plan.rows}


def step(net, images, optimizer, autocast=False):
    optimizer.zero_grad()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        loss = net(images).float().square().mean()
    loss.backward()
    optimizer.step()


def is_zero_outside(net):
    return all(not net.get_submodule(name).weight.detach()[~mask].any() for name, mask in masks(net).items())


def test_the_largest_weights_stay(net, images):
    weight = net[0].weight.detach().clone()
    counts = prune(net, images, ratio=0.75)
    assert counts == {'0': 54, '3': 18, '4': 12, '6': 270}
    kept = weight.abs().flatten().topk(54).indices
    expected = torch.zeros(216, dtype=torch.bool).index_fill_(0, kept, True).reshape(weight.shape)
    assert torch.equal(masks(net)['0'], expected)
    assert torch.equal(net[0].weight, weight * expected) and net[0].bias.all()


def test_a_plan_and_its_trial_change_nothing(net, images):
    state, flags = copy.deepcopy(net.state_dict()), {id(p): p.requires_grad for p in net.parameters()}
    plan = WeightPruner(dict(type='Uniform', ratio=0.5)).plan(Scope.of(net, images))
    with plan.trial():
        assert int((net[6].weight == 0).sum()) == 540
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in state.items())
    assert list(state) == list(net.state_dict()) and net.training
    assert flags == {id(p): p.requires_grad for p in net.parameters()}


@pytest.mark.parametrize('autocast', [False, True])
def test_pruned_weights_stay_zero_in_training(net, images, autocast):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    step(net, images, optimizer)  # momentum from before must not bring anything back
    prune(net, images)
    for _ in range(3):
        before = net[0].weight.detach().clone()
        step(net, images, optimizer, autocast)
        net(images)
        assert is_zero_outside(net)
        assert not torch.equal(before, net[0].weight)  # the others do train
    assert not any(
        value[~mask].any()
        for mask, value in ((mask, net.state_dict()[f'{name}.weight']) for name, mask in masks(net).items())
    )


def test_frozen_layers_stay_frozen(net, images):
    net[0].weight.requires_grad_(False)
    prune(net, images)
    assert not net[0].weight.requires_grad and net[4].weight.requires_grad and is_zero_outside(net)


def test_target_in_flops(net, images):
    flops = module_flops(Scope.of(net, images))
    prune(net, images, target=dict(flops=0.5), allocator='Global')
    left = sum(flops[name] * mask.float().mean().item() for name, mask in masks(net).items())
    assert 0.49 <= left / sum(flops[name] for name in masks(net)) <= 0.5


def test_target_in_params(net, images):
    prune(net, images, target=dict(params=0.3), allocator='LAMP')
    kept = sum(int(mask.sum()) for mask in masks(net).values())
    assert 0.29 <= kept / sum(mask.numel() for mask in masks(net).values()) <= 0.3
    counts = measure(Scope.of(net, images))
    assert counts.params - counts.nonzero_params == sum(int((~mask).sum()) for mask in masks(net).values())


def test_masks_are_nested(net, images):
    prune(net, images, ratio=0.5)
    first = {name: mask.clone() for name, mask in masks(net).items()}
    net[0].weight.data += 1  # even if something writes to pruned weights
    prune(net, images, ratio=0.8)
    for name, mask in masks(net).items():
        assert not (mask & ~first[name]).any() and int(mask.sum()) < int(first[name].sum())


def test_three_cubic_steps_end_where_one_shot_does(net, images):
    one_shot = copy.deepcopy(net)
    prune(one_shot, images, ratio=0.9)
    before, kept = None, []
    for fraction in (1 - (1 - k / 3) ** 3 for k in (1, 2, 3)):
        counts = prune(net, images, ratio=0.9, fraction=fraction, before=before)
        before = before or {name: mask.numel() for name, mask in masks(net).items()}
        kept.append(sum(counts.values()))
    for name, mask in masks(net).items():  # shares of what is alive round down once per step
        assert abs(int(mask.sum()) - int(masks(one_shot)[name].sum())) <= 3
    assert kept[0] > kept[1] > kept[2]


def test_state_dict_round_trip(net, images, tmp_path):
    prune(net, images)
    mmprune.save(net, tmp_path / 'pruned.pth')
    fresh = make()
    mmprune.load(fresh, tmp_path / 'pruned.pth')
    assert masks(fresh).keys() == masks(net).keys()
    assert all(torch.equal(mask, masks(net)[name]) for name, mask in masks(fresh).items())
    net.eval(), fresh.eval()
    assert torch.equal(net(images), fresh(images))
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9)
    step(fresh, images, optimizer), step(fresh, images, optimizer)
    assert is_zero_outside(fresh)


def test_copies_hold_their_masks_too(net, images):
    prune(net, images)
    twin = copy.deepcopy(net)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    step(twin, images, optimizer), step(twin, images, optimizer)
    assert is_zero_outside(twin) and is_zero_outside(net)


def test_masks_become_permanent(net, images):
    keys = list(net.state_dict())
    prune(net, images)
    net.eval()
    expected, zeros = net(images), int((net[6].weight == 0).sum())
    remove_masks(net)
    assert list(net.state_dict()) == keys and not masks(net) and not net[0]._forward_pre_hooks
    assert torch.equal(net(images), expected) and int((net[6].weight == 0).sum()) == zeros == 540


def test_kept_layers_and_layers_that_do_not_run(images):
    net = make()
    net.unused = nn.Linear(3, 3)
    net.forward = lambda x: nn.Sequential.forward(net[:7], x)
    assert set(prune(net, images, keep=['0'])) == {'3', '4', '6'}


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(keep=['head.*']), r"^keep: the pattern 'head\.\*' matches no module"),
        (dict(keep=['*']), 'target: no conv or linear layer in it runs and may be pruned'),
        (dict(target=dict(latency=0.5)), r'^allocator\.target\.latency: masks do not make'),
        (dict(ratio=1.0), r'^allocator\.ratio: .*in \[0, 1\) or None, got 1\.0'),
        (dict(allocator='Unifrom'), r"^allocator\.type.*'Unifrom' is unknown"),
    ],
)
def test_mistakes(net, images, options, message):
    with pytest.raises(ValueError, match=message):
        prune(net, images, **options)


def test_weights_that_are_not_finite(net, images):
    net[4].weight.data[0] = float('inf')
    with pytest.raises(ConfigError, match='load_from: the weights of 4 contain NaN or Inf'):
        prune(net, images)
