"""Functions on everything that a forward pass may take and return."""

from collections import OrderedDict, defaultdict, namedtuple

import pytest
import torch
from torch import nn

from mmprune.graph.tracing import flatten_tensors, map_tensors, watching

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


class TestWatching:
    """Hooks that are there as long as the context lasts."""

    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))

    def hooks(self):
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.net.modules()]

    def test_a_hook_sees_modules_and_keys(self):
        seen = []
        with watching([self.net[0]], lambda module, args, out: seen.append((module, out.shape))):
            self.net(torch.ones(3, 2))
        with watching({'a': self.net[1], 'b': self.net[1]}, lambda *given: seen.append(given[:2]), before=True):
            self.net(torch.ones(3, 2))
        self.net(torch.ones(3, 2))
        assert seen == [(self.net[0], (3, 2)), ('a', self.net[1]), ('b', self.net[1])]

    def test_what_a_hook_returns_takes_the_place(self):
        with watching({'zero': self.net[2]}, lambda key, module, args, out: out * 0):
            assert not self.net(torch.ones(3, 2)).any()
        with watching([self.net], lambda module, args: (torch.ones(5, 2),), before=True):
            assert self.net(torch.ones(3, 2)).shape == (5, 2)

    def test_hooks_go_when_the_pass_or_a_module_fails(self):
        with pytest.raises(RuntimeError), watching(self.net.modules(), lambda *given: None):
            self.net(torch.ones(3, 7))
        with pytest.raises(AttributeError), watching([self.net, 'no module'], print):
            pass
        assert not any(self.hooks())
