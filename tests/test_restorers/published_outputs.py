"""Outputs of the published solvers, and the small nets they were made from."""

import numpy as np
import pytest
import torch

from tests.hand_made_sites import HandMade
from tests.oracles.lbyl import select


def read_outputs(data_root, name):
    """The input state dict (may be empty) and ``{tag: output state dict}`` of one file."""
    path = data_root / 'lbyl' / name
    if not path.is_file():
        pytest.skip(f'{path} not found')
    inputs, outputs = {}, {}
    with np.load(path) as file:
        for key in file:
            kind, _, rest = key.partition('/')
            value = torch.from_numpy(np.asarray(file[key]))
            if kind == 'in':
                inputs[rest] = value
            elif kind == 'out':
                tag, _, tensor = rest.partition('/')
                outputs.setdefault(tag, {})[tensor] = value
            else:
                outputs.setdefault('', {})[key] = value
    return inputs, outputs


def read_weights(data_root, name):
    path = data_root / 'weights' / name
    if not path.is_file():
        pytest.skip(f'{path} not found')
    return torch.load(path, map_location='cpu', weights_only=True)['state_dict']


def lenet(data_root):
    state = read_weights(data_root, 'lenet300_100_fashion_mnist.pth')
    return state, [('ip1', None, 'ip2'), ('ip2', None, 'ip3')], read_outputs(data_root, 'lenet300_100.npz')[1]


def tiny_vgg(data_root):
    state, outputs = read_outputs(data_root, 'tiny_vgg16.npz')
    convs = [key.removesuffix('.weight') for key, value in state.items() if value.dim() == 4]
    norms = [f'feature.{int(key.split(".")[1]) + 1}' for key in convs]
    return state, list(zip(convs, norms, [*convs[1:], 'classifier.0'])), outputs


def tiny_resnet34(data_root):
    state, outputs = read_outputs(data_root, 'tiny_resnet34_layer1.npz')
    parts = ('conv1', 'bn1', 'conv2')
    return state, [tuple(f'layer1.{b}.group1.{part}' for part in parts) for b in range(2)], outputs


def resnet56(data_root):
    state = read_weights(data_root, 'resnet56_nm_cifar10.pth')
    parts = ('conv1', 'bn1', 'conv2')
    plan = [tuple(f'layer{s}.{b}.{part}' for part in parts) for s in (1, 2, 3) for b in range(9)]
    outputs = {}
    for criterion in ('l1-norm', 'l2-norm'):
        file = read_outputs(data_root, f'resnet56_merge_{criterion}_0.3_t0.1_lam0.85.npz')[1]
        outputs[f'merge|{criterion}|t=0.1,lam=0.85'] = file['']
    return state, plan, outputs


NETS = {'lenet': lenet, 'tiny_vgg': tiny_vgg, 'tiny_resnet34': tiny_resnet34, 'resnet56': resnet56}


def cases(data_root, net, method):
    """``(tag, options, published, function from restorer to our output)`` for every tag of one method."""
    state, plan, outputs = NETS[net](data_root)
    for tag, published in outputs.items():
        name, criterion, *rest = tag.split('|')
        if name != method:
            continue
        options = dict(part.split('=') for entry in rest for part in entry.split(',') if '=' in part)
        keeps = []
        for producer, _, _ in plan:
            rows = state[f'{producer}.weight'].flatten(1).numpy()
            if net == 'lenet':
                rows = np.column_stack([rows, state[f'{producer}.bias'].numpy()])
            keeps.append(select(rows, len(published[f'{producer}.weight']), criterion))
        yield (
            tag,
            {key: float(value) for key, value in options.items()},
            published,
            lambda restorer, keeps=keeps: HandMade(state, plan).restored(restorer, keeps),
        )


def check(ours, published, tolerance):
    """Every published tensor is there, and equal to within the tolerance."""
    for key, value in published.items():
        assert ours[key].shape == value.shape, key
        difference = float((ours[key].double() - value.double()).abs().max())
        assert difference <= tolerance, f'{key}: {difference}'
