"""Sites built by hand from a state dict, for tests of restorers without the graph."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from mmprune.graph.site import Activation, Branch, Norm, Site

RELU = Activation('relu', F.relu)


@dataclass
class HandMade:
    """A chain of layers named in a plan of (producer, norm or None, reader) keys; layers are built once per key."""

    state: dict
    plan: list
    layers: dict = field(default_factory=dict)

    def __post_init__(self):
        for keys in self.plan:
            for key in keys:
                if key is not None and key not in self.layers:
                    self.layers[key] = layer_of(self.state, key)

    def sites(self):
        made = []
        for producer, norm, reader in self.plan:
            width = self.layers[producer].weight.shape[0]
            every = torch.arange(width)
            chain = (RELU,) if norm is None else (Norm(norm, self.layers[norm], every), RELU)
            spread = self.layers[reader].weight.shape[1] // width
            branch = Branch(reader, self.layers[reader], torch.arange(width * spread).reshape(width, spread), chain)
            made.append(Site(producer, width, producer, self.layers[producer], every, (branch,)))
        return made

    def cut(self, keeps):
        """The state dict with the kept units of every site, in the order given; what no site touches stays."""
        state = dict(self.state)
        for key, layer in self.layers.items():
            for name, value in layer.state_dict().items():
                state[f'{key}.{name}'] = value.clone()
        for (producer, norm, reader), keep in zip(self.plan, keeps):
            vectors = [f'{norm}.{name}' for name in ('weight', 'bias', 'running_mean', 'running_var')] if norm else []
            for key in [f'{producer}.weight', f'{producer}.bias', *vectors]:
                if key in state:
                    state[key] = state[key][keep]
            spread = self.layers[reader].weight.shape[1] // self.layers[producer].weight.shape[0]
            columns = (torch.as_tensor(keep)[:, None] * spread + torch.arange(spread)).flatten()
            state[f'{reader}.weight'] = state[f'{reader}.weight'][:, columns]
        return state

    def restored(self, restorer, keeps):
        """Run a restorer (or None) over all sites and cut."""
        sites = self.sites()
        if restorer is not None:
            restorer.prepare(sites)
            for site, keep in zip(sites, keeps):
                assert restorer.restore_site(site, torch.as_tensor(keep).sort().values) == ''
        return self.cut(keeps)


def layer_of(state, key):
    own = {name.rpartition('.')[2]: value for name, value in state.items() if name.rpartition('.')[0] == key}
    weight, has_bias = own['weight'], 'bias' in own
    if 'running_var' in own:
        layer = nn.BatchNorm2d(len(weight))
        own.setdefault('num_batches_tracked', layer.num_batches_tracked)
    elif weight.dim() == 4:
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=has_bias)
    else:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=has_bias)
    layer = layer.to(weight.dtype).eval()
    layer.load_state_dict(own)
    return layer


def random_state(widths, kernel=3, seed=0, gamma=None):
    """A small plain conv–BN net: keys conv0, bn0, conv1, …; widths are channel counts including the input's."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    state = {}
    for k, (before, after) in enumerate(zip(widths, widths[1:])):
        state[f'conv{k}.weight'] = draw(after, before, kernel, kernel) / (before * kernel**2) ** 0.5
        state[f'bn{k}.weight'] = 0.5 + draw(after).abs() if gamma is None else gamma.clone()
        state[f'bn{k}.bias'] = draw(after) / 2
        state[f'bn{k}.running_mean'] = draw(after) / 2
        state[f'bn{k}.running_var'] = 0.3 + draw(after).square()
    return state
