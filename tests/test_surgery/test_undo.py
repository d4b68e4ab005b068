"""Whatever does not cut leaves the network bit for bit, object by object, as it was."""

import copy

import pytest
import torch
import torch.nn.utils.parametrize as parametrize
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

import mmprune
from mmprune.errors import ConfigError
from mmprune.graph.scope import Scope
from mmprune.pruners import ChannelPruner
from mmprune.restorers.base import Restorer
from tests.networks import NETWORKS, randomise

PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.4))
#: Attributes of torch's own, compared item by item.
HELD = ('_parameters', '_buffers', '_modules')


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.InstanceNorm2d(8, affine=True), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10), nn.PReLU(10), nn.Linear(10, 4),
    )  # fmt: skip


class Twice(nn.Module):
    def forward(self, weight):
        return 2 * weight


def computed(change):
    def make():
        net = plain()
        change(net)
        return net

    return make


def as_attribute(net):
    weight = net[5].weight.detach().clone()
    del net[5].weight
    net[5].weight = weight


def as_buffer(net):
    weight = net[5].weight.detach().clone()
    del net[5].weight
    net[5].register_buffer('weight', weight, persistent=False)


def tied(net):
    net[5].weight = nn.Parameter(torch.randn(16, 16, 3, 3) / 12)
    net.register_module('other', nn.Conv2d(16, 16, 3))
    net.other.weight = net[5].weight
    net.other.forward = lambda x: x


def view(net):
    store = nn.Parameter(torch.randn(20, 16, 3, 3) / 12)
    net[5].register_parameter('store', store)
    net[5].weight = nn.Parameter(store.data[2:18])


def expanded(net):
    net[5].weight = nn.Parameter(torch.randn(16, 1, 3, 3).expand(16, 16, 3, 3) / 12)
    net[5].weight.data = torch.randn(16, 1, 3, 3).expand(16, 16, 3, 3)


def hooked(net):
    base = net[5].weight.detach().clone()
    net[5].base = base

    def rewrite(module, args):
        module.weight.data.copy_(module.base)

    net[5].register_forward_pre_hook(rewrite)


COMPUTED = {
    'old weight_norm': computed(lambda net: nn.utils.weight_norm(net[5])),
    'weight_norm': computed(lambda net: nn.utils.parametrizations.weight_norm(net[5])),
    'weight_norm of a linear layer': computed(lambda net: nn.utils.parametrizations.weight_norm(net[12], dim=1)),
    'old spectral_norm': computed(lambda net: nn.utils.spectral_norm(net[5])),
    'spectral_norm': computed(lambda net: nn.utils.parametrizations.spectral_norm(net[5])),
    'orthogonal': computed(lambda net: nn.utils.parametrizations.orthogonal(net[12])),
    'parametrization': computed(lambda net: parametrize.register_parametrization(net[5], 'weight', Twice())),
    'bias parametrization': computed(lambda net: parametrize.register_parametrization(net[5], 'bias', Twice())),
    'torch.nn.utils.prune': computed(lambda net: torch_prune.l1_unstructured(net[5], 'weight', 0.5)),
    'torch.nn.utils.prune twice': computed(
        lambda net: [torch_prune.random_structured(net[5], 'weight', 0.3, dim=0) for _ in range(2)]
    ),
    'prune of a norm': computed(lambda net: torch_prune.l1_unstructured(net[1], 'weight', 0.5)),
    'attribute': computed(as_attribute),
    'buffer': computed(as_buffer),
    'shared': computed(tied),
    'view': computed(view),
    'expanded': computed(expanded),
    'hook': computed(hooked),
}
FAMILIES = {
    'plain': (plain, (3, 16, 16)),
    **{name: (make, (3, 16, 16)) for name, make in COMPUTED.items()},
    **{
        name: (NETWORKS[name], (3, 64, 64) if 'CIFAR' not in name else (3, 32, 32))
        for name in NETWORKS
        if name in ('torchvision ResNet-18', 'torchvision MobileNetV3', 'mmpretrain ConvNeXt', 'CIFAR ResNet-56')
    },
}


def snapshot(net):
    """All that a network is: by module and attribute, values of tensors beside the identity of what matters."""
    state = {'keys': list(net.state_dict())}
    for name, module in net.named_modules():
        for key, value in vars(module).items():
            if key in HELD:
                value = {k: (id(v), seen(v) if isinstance(v, Tensor) else None) for k, v in value.items()}
                state[name, key, 'order'] = list(value)
            elif isinstance(value, Tensor):
                value = seen(value)
            elif isinstance(value, dict):  # hooks
                value = {k: id(v) for k, v in value.items()}
            elif isinstance(value, set):
                value = set(value)
            state[name, key] = value
        state[name, 'attributes'] = list(vars(module))
    return state


def seen(tensor):
    grad = None if tensor.grad_fn is not None or tensor.grad is None else (id(tensor.grad), tensor.grad.clone())
    return (
        tensor.detach().clone(), grad, tensor.requires_grad, tensor.dtype, tensor.stride(), type(tensor),
        tensor.data_ptr() if isinstance(tensor, nn.Parameter) else None,
    )  # fmt: skip


def differences(before, after, path=''):
    if isinstance(before, Tensor):
        same = isinstance(after, Tensor) and before.shape == after.shape and torch.equal(before, after)
        return [] if same else [path]
    if type(before) is not type(after):
        return [path]
    if isinstance(before, dict):
        if list(before) != list(after):
            return [f'{path} keys {set(before) ^ set(after)}']
        return [d for k in before for d in differences(before[k], after[k], f'{path}/{k}')]
    if isinstance(before, (tuple, list)):
        if len(before) != len(after):
            return [path]
        return [d for k, (a, b) in enumerate(zip(before, after)) for d in differences(a, b, f'{path}/{k}')]
    return [] if before is after or before == after else [path]


class Broken(Restorer):
    needs_chain = False

    def restore_site(self, site, keep):
        raise RuntimeError('broken on purpose')


def dry_run(net, example):
    mmprune.prune(net, example, pruner=PRUNER, restorer=None, dry_run=True)


def trial(net, example):
    with ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.4)).plan(Scope.of(net, example)).trial():
        net(example)


def refused(net, example):
    with pytest.raises(ConfigError):
        mmprune.prune(net, example, pruner=dict(PRUNER, keep=['*']), restorer=None)


def failing_restorer(net, example):
    with pytest.raises(RuntimeError, match='broken on purpose'):
        mmprune.prune(net, example, pruner=PRUNER, restorer=Broken())


@pytest.mark.parametrize('name', list(FAMILIES))
@pytest.mark.parametrize('call', [dry_run, trial, refused, failing_restorer])
def test_everything_is_as_before(name, call):
    make, shape = FAMILIES[name]
    torch.manual_seed(0)
    net = make()
    if name in NETWORKS or name == 'plain':
        randomise(net)
    example = torch.randn(2, *shape)
    net.eval()
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    first.weight.requires_grad_(False)
    net(example).square().sum().backward() if not isinstance(net(example), tuple) else None
    before = snapshot(net)
    call(net, example)
    assert differences(before, snapshot(net)) == []


def gradients(net, example):
    net.zero_grad()
    net(example).square().sum().backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('name', list(COMPUTED))
def test_gradients_after_a_dry_run(name):
    torch.manual_seed(0)
    net, example = COMPUTED[name]().eval(), torch.randn(2, 3, 16, 16)
    expected = gradients(net, example)
    dry_run(net, example)
    got = gradients(net, example)
    assert list(expected) == list(got) and all(torch.equal(expected[k], got[k]) for k in expected)


@pytest.mark.parametrize('name', list(COMPUTED))
def test_computed_layers_go_on_learning_after_a_cut(name):
    torch.manual_seed(0)
    net, example = COMPUTED[name]().eval(), torch.randn(2, 3, 16, 16)
    keys = list(net.state_dict())
    expected = set(gradients(net, example))
    report = mmprune.prune(net, example, pruner=PRUNER)
    assert list(net.state_dict()) == keys and any(row.after < row.before for row in report.layers)
    assert set(gradients(net, example)) == expected


def test_the_reason_names_what_computes_a_weight():
    words = {
        'old weight_norm': "5's weight is computed from other tensors (weight_norm)",
        'weight_norm': "5's weight is computed from other tensors (weight_norm)",
        'old spectral_norm': '(spectral_norm)',
        'spectral_norm': '(spectral_norm)',
        'orthogonal': '(orthogonal)',
        'parametrization': '(twice)',
        'bias parametrization': "5's bias is computed from other tensors (twice)",
        'torch.nn.utils.prune': '(torch.nn.utils.prune)',
        'prune of a norm': "1's weight is computed from other tensors (torch.nn.utils.prune)",
        'attribute': 'an attribute, no parameter',
        'buffer': 'a buffer, no parameter',
        'shared': 'is shared (5.weight and other.weight are one tensor)',
        'view': 'is a view (it shares memory with 5.store)',
        'expanded': 'is expanded',
    }
    for name, text in words.items():
        net = COMPUTED[name]().eval()
        plan = ChannelPruner('L2Norm', dict(type='Uniform', ratio=0.4)).plan(Scope.of(net, torch.randn(2, 3, 16, 16)))
        assert any(text in row.reason for row in plan.rows), (name, [row.reason for row in plan.rows])


def test_an_undo_after_the_end_brings_gradients_back():
    from mmprune.surgery.slicing import slice_channels

    net = copy.deepcopy(plain()).eval()
    net(torch.randn(2, 3, 16, 16)).sum().backward()
    before = snapshot(net)
    undo = slice_channels(
        net, {net[0]: torch.tensor([1, 3]), net[1]: torch.tensor([1, 3])}, {net[3]: torch.tensor([1, 3])}
    )
    undo.make_final()
    assert net[0].weight.grad is None and net[0].out_channels == 10
    undo.take_back()
    assert differences(before, snapshot(net)) == []


WEIGHTS = {
    'WeightPruner': dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.5)),
    'pattern': dict(type='WeightPruner', pattern='2:4'),
    'ExpanderPruner': dict(type='ExpanderPruner', degree=4),
}


@pytest.mark.parametrize('kind', list(WEIGHTS))
@pytest.mark.parametrize('name', [name for name in COMPUTED if 'norm' not in name or 'of a' not in name])
def test_masks_leave_computed_layers_alone(name, kind):
    torch.manual_seed(0)
    net, example = COMPUTED[name]().eval(), torch.randn(2, 3, 16, 16)
    layer = net[12] if name == 'orthogonal' else net[5]
    before, keys = snapshot(layer), list(layer.state_dict())
    report = mmprune.prune(net, example, pruner=WEIGHTS[kind], restorer=None)
    if name in ('hook', 'bias parametrization'):
        return
    assert differences(before, snapshot(layer)) == [] and list(layer.state_dict()) == keys
    row = next(row for row in report.layers if row.name == ('12' if name == 'orthogonal' else '5'))
    assert row.after == row.before and row.reason
