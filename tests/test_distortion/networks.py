"""Small networks whose forward passes are awkward to replay."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.networks import randomise


class InPlaceBlock(nn.Module):
    """As mmdet's: ReLU in place, and the sum written into the batch norm's output before the shortcut's conv runs."""

    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Conv2d(cin, cout, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.Sequential(InPlaceBlock(6, 6), InPlaceBlock(6, 8, 2), InPlaceBlock(8, 8))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class Shared(nn.Module):
    """One layer called twice, concatenation, a dict between modules, two outputs, a layer that never runs."""

    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return {'a': self.a(x).relu_(), 'b': [self.b(x)]}

    def __init__(self):
        super().__init__()
        self.split, self.twice, self.mix = self.Split(), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(12, 6, 1)
        self.unused = nn.Conv2d(4, 4, 1)
        self.out = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        parts = self.split(x)
        a, b = self.twice(parts['a']), self.twice(parts['b'][0])
        mixed = self.mix(torch.cat([a, F.relu(b), parts['a']], dim=1))
        return mixed, self.out(mixed)


NETWORKS = {'in place': Residual, 'shared': Shared}


def make(name):
    torch.manual_seed(0)
    return randomise(NETWORKS[name]())
