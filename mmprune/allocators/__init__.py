"""Allocators: how much is removed from each layer, at a ratio or within a budget."""

from mmprune.allocators.base import Allocator, Layer
from mmprune.allocators.budget import search_ratio
from mmprune.allocators.erk import ERK
from mmprune.allocators.global_allocator import Global
from mmprune.allocators.lamp import LAMP
from mmprune.allocators.rate_distortion import RateDistortion
from mmprune.allocators.uniform import Uniform
from mmprune.allocators.uniform_plus import UniformPlus
from mmprune.allocators.width_dependent import WidthDependent

__all__ = [
    'ERK',
    'LAMP',
    'Allocator',
    'Global',
    'Layer',
    'RateDistortion',
    'Uniform',
    'UniformPlus',
    'WidthDependent',
    'search_ratio',
]
