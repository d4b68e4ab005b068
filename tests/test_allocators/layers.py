"""Layers to allocate for, without a network."""

import math

import torch

from mmprune.allocators import Layer
from mmprune.registry import ALLOCATORS


def build(name, **kwargs):
    return ALLOCATORS.build({'type': name, **kwargs})


def channel_layers(*widths):
    """Channel groups of 3×3 convs without scores."""
    return [Layer(f'layer{i}', width, (width, 16, 3, 3)) for i, width in enumerate(widths)]


def scored(*scores, **kwargs):
    """Layers with the given scores, one unit each."""
    tensors = [torch.as_tensor(s, dtype=torch.float64) for s in scores]
    extra = [{key: value[i] for key, value in kwargs.items()} for i in range(len(scores))]
    return [Layer(f'layer{i}', len(s), (len(s),), scores=s, **e) for i, (s, e) in enumerate(zip(tensors, extra))]


def weight_layers(*shapes, seed=0):
    """Weight tensors with magnitudes of random normal weights; wider fan-in, smaller weights."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for i, shape in enumerate(shapes):
        n = math.prod(shape)
        scores = torch.randn(n, generator=generator, dtype=torch.float64).abs() / math.prod(shape[1:]) ** 0.5
        layers.append(Layer(f'layer{i}', n, shape, scores=scores))
    return layers
