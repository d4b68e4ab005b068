"""Functions on everything that a forward pass may take and return."""

from collections import OrderedDict, defaultdict, namedtuple

import torch

from mmprune.graph.tracing import flatten_tensors, map_tensors

Pair = namedtuple('Pair', 'left right')


def test_every_tensor_is_mapped_and_containers_stay_what_they_are():
    one = torch.ones(2)
    value = OrderedDict(a=[one, 'text', None], b=Pair(one, (one, 3)), c=defaultdict(list, d=one))
    mapped = map_tensors(lambda x: x + 1, value)
    assert type(mapped) is OrderedDict and list(mapped) == ['a', 'b', 'c'] and mapped['a'][1:] == ['text', None]
    assert type(mapped['b']) is Pair and mapped['b'].right[1] == 3
    assert type(mapped['c']) is defaultdict and mapped['c']['new'] == []
    assert [float(x.sum()) for x in flatten_tensors(mapped)] == [4.0] * 4
    assert [float(x.sum()) for x in flatten_tensors(value)] == [2.0] * 4
