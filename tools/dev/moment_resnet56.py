"""Measure MomentRestoration on the real CIFAR ResNet-56 / ResNet-20: conv1 of every block cut, no image used.

python tools/dev/moment_resnet56.py DATA_ROOT --net resnet56 --ratios .3 .5 --choice l2 obs --out out.json
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmprune.criteria.moment_obs import site_elimination
from mmprune.graph.site import Activation, Branch, Norm, Site
from mmprune.restorers.moment import MomentRestoration

NETS = {
    'resnet56': ('resnet56_nm_cifar10.pth', 9, 'conv', (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    'resnet20': ('resnet20_cifar10.pth', 3, 'pad', (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Block(nn.Module):
    """Two 3x3 convs; 'conv' shortcuts apply ReLU to the block's input first."""

    def __init__(self, cin: int, cout: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.shortcut, self.stride, self.extra = shortcut, stride, cout - cin
        self.downsample = None
        if shortcut == 'conv' and (stride > 1 or cin != cout):
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        x = F.relu(x)
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.extra or self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        return out + x


class Net(nn.Module):
    """The CIFAR ResNet of He et al.; ReLU is written at the start of the blocks."""

    def __init__(self, blocks: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for stage, width in enumerate((16, 32, 64)):
            cin = 16 if stage == 0 else width // 2
            layers = [
                Block(cin if i == 0 else width, width, 2 if stage and i == 0 else 1, shortcut) for i in range(blocks)
            ]
            setattr(self, f'layer{stage + 1}', nn.Sequential(*layers))
        self.fc = nn.Linear(64, 10)

    def blocks(self) -> list[tuple[str, Block]]:
        """All blocks with their names, in forward order."""
        return [(n, m) for n, m in self.named_modules() if isinstance(m, Block)]

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        return self.fc(F.relu(x).mean(dim=(2, 3)))


def load(root: Path, name: str) -> tuple[Net, Callable[[np.ndarray], Tensor]]:
    """The published network and the normalisation of its images."""
    file, blocks, shortcut, mean, std = NETS[name]
    state = torch.load(root / 'weights' / file, map_location='cpu', weights_only=True)
    state = {k.removeprefix('module.').replace('linear.', 'fc.'): v for k, v in state.get('state_dict', state).items()}
    net = Net(blocks, shortcut)
    net.load_state_dict(state, strict=True) if name == 'resnet56' else net.load_state_dict(state, strict=False)

    def images(x: np.ndarray) -> Tensor:
        x = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
        return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    return net.eval(), images


def sites(net: Net) -> list[Site]:
    """One site per block: conv1 → bn1 → ReLU → conv2 (→ bn2)."""
    result = []
    for name, block in net.blocks():
        index = torch.arange(block.conv1.out_channels)
        chain = (Norm(f'{name}.bn1', block.bn1, index), Activation('relu', F.relu))
        branch = Branch(f'{name}.conv2', block.conv2, index[:, None], chain, block.bn2, f'{name}.bn2')
        result.append(Site(f'{name}.conv1', len(index), f'{name}.conv1', block.conv1, index, (branch,)))
    return result


def choose(site: Site, ratio: float, choice: str, measured: dict | None = None) -> Tensor:
    """Kept units of one site at a uniform ratio: floor(n (1 - ratio)) of them."""
    count = int(site.width * (1 - ratio) + 1e-9)
    if choice == 'l2':
        return site.producer_weight().norm(dim=1).topk(count).indices.sort().values
    return site_elimination(site, measured=measured)[0][-count:].sort().values


def cut(site: Site, keep: Tensor) -> None:
    """Zero what the pruner would slice."""
    for branch in site.branches:
        weight = branch.read_weight()
        mask = torch.zeros(site.width, 1, 1, dtype=weight.dtype)
        mask[keep] = 1
        branch.write_weight(weight * mask)


def slice_units(site: Site, keep: Tensor) -> None:
    """Really take the units out."""
    (branch,) = site.branches
    site.producer.weight.data = site.producer.weight.data[keep]
    branch.module.weight.data = branch.module.weight.data[:, keep]
    norm = branch.chain[0].module
    for name in ('weight', 'bias', 'running_mean', 'running_var'):
        getattr(norm, name).data = getattr(norm, name).data[keep]


def prune(net: Net, ratio: float, choice: str, moments: str, example: Tensor) -> list[str]:
    """Choose, repair and slice in place; returns what could not be repaired."""
    restorer, plan = MomentRestoration(moments=moments), sites(net)
    images = restorer.images_for(example, None)
    restorer.prepare(plan, net, images)
    measured = restorer.measured if moments == 'noise' else None
    keeps, problems = [], set()
    for site in plan:
        keeps.append(choose(site, ratio, choice, measured))
        problems |= {restorer.restore_site(site, keeps[-1])} - {''}
        cut(site, keeps[-1])
    for site, keep in zip(plan, keeps):
        slice_units(site, keep)
    restorer.restore_model(net, net, images)
    return sorted(problems)


@torch.no_grad()
def accuracy(net: Net, x: Tensor, y: Tensor) -> float:
    """Top-1 in percent."""
    return 100 * float((torch.cat([net(b).argmax(1) for b in x.split(256)]) == y).double().mean())


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data_root', type=Path)
    parser.add_argument('--net', choices=NETS, default='resnet56')
    parser.add_argument('--ratios', type=float, nargs='+', default=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    parser.add_argument('--moments', nargs='+', default=['closure', 'noise'])
    parser.add_argument('--choice', nargs='+', default=['l2', 'obs'])
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    dense, images = load(args.data_root, args.net)
    data = np.load(args.data_root / 'cifar10' / 'cifar10_test_lossless_1017.npz')
    x, y = images(data['x']), torch.from_numpy(data['y']).long()
    rows = [{'net': args.net, 'dense': accuracy(dense, x, y)}]
    print(rows[0])
    for moments, choice, ratio in itertools.product(args.moments, args.choice, args.ratios):
        net, start = copy.deepcopy(dense), time.process_time()
        problems = prune(net, ratio, choice, moments, x[:1])
        seconds = round(time.process_time() - start, 1)
        rows.append(
            {
                'moments': moments,
                'choice': choice,
                'ratio': ratio,
                'cpu_s': seconds,
                'top1': round(accuracy(net, x, y), 2),
                'problems': problems,
            }
        )
        print(rows[-1], flush=True)
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))


if __name__ == '__main__':
    main()
