"""Random bipartite graphs between the inputs and the outputs of a layer, and how well they connect them."""

from mmprune.expanders.base import GraphModel
from mmprune.expanders.expansion import Subsets
from mmprune.expanders.properties import GraphProperties, properties_of
from mmprune.expanders.random import RandomGraph
from mmprune.expanders.random_regular import RandomRegular
from mmprune.expanders.selection import Selection
from mmprune.expanders.spectrum import ramanujan_bound, top_singular_values
from mmprune.expanders.xnet import XNet

__all__ = [
    'GraphModel',
    'GraphProperties',
    'RandomGraph',
    'RandomRegular',
    'Selection',
    'Subsets',
    'XNet',
    'properties_of',
    'ramanujan_bound',
    'top_singular_values',
]
