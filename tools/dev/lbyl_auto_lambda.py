"""How far LBYL's automatic λ is from the best λ of a grid, on real checkpoints.

Every λ2 of the grid goes with λ1 = λ2 / 200; the best of a grid is found with the test images, the automatic one
without any. Cut only, Neuron Merging and the published default (1e-5 / 2e-3) stand beside them.

    python tools/dev/lbyl_auto_lambda.py DATA_ROOT --out lbyl_auto_lambda.json
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import mmprune
from mmprune.models import CIFARResNet, LeNet300, rename_published

GRID = (1e-5, 1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)


class Classifier(nn.Module):
    """A backbone, the mean over the pixels, and a linear layer."""

    def __init__(self, backbone: nn.Module, features: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.ModuleDict({'fc': nn.Linear(features, 10)})

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of images (N, C, H, W)."""
        x = self.backbone(x)[-1]
        return self.head['fc'](x if x.dim() == 2 else x.mean((2, 3)))


def cifar10(root: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The lossless test images, normalised, and their labels."""
    with np.load(root / 'cifar10' / 'cifar10_test_lossless_1017.npz') as file:
        images, labels = torch.from_numpy(file['x']), torch.from_numpy(file['y']).long()
    images = images.permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None], labels


def fashion_mnist(root: Path) -> tuple[Tensor, Tensor]:
    """The test images as (x − .5) / .5, and their labels."""

    def read(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((root / 'fashion_mnist' / name).read_bytes())[header:], np.uint8)

    images = torch.from_numpy(read('t10k-images-idx3-ubyte.gz', 16).astype(np.float32)).reshape(-1, 1, 28, 28)
    return (images / 255 - 0.5) / 0.5, torch.from_numpy(read('t10k-labels-idx1-ubyte.gz', 8).astype(np.int64))


def resnet56() -> nn.Module:
    """The network of the Neuron Merging authors."""
    return Classifier(CIFARResNet(56, shortcut='conv1x1', pre_relu=True), 64)


def resnet20() -> nn.Module:
    """The usual option-A network."""
    return Classifier(CIFARResNet(20), 64)


def lenet() -> nn.Module:
    """LeNet-300-100."""
    return Classifier(LeNet300(), 100)


NM_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RESNET_KEEP = ('backbone.conv1', '*.conv2')
NETS = {  # build, weights, images, layers that stay whole, ratios, rounding, modes
    'lenet300': (
        lenet,
        'lenet300_100_fashion_mnist.pth',
        fashion_mnist,
        (),
        (0.5, 0.6, 0.7, 0.8),
        'round',
        ('reference',),
    ),
    'resnet56': (
        resnet56,
        'resnet56_nm_cifar10.pth',
        lambda root: cifar10(root, *NM_CIFAR),
        RESNET_KEEP,
        (0.2, 0.3, 0.4, 0.5),
        'floor',
        ('reference', 'exact'),
    ),
    'resnet20': (
        resnet20,
        'resnet20_cifar10.pth',
        lambda root: cifar10(root, *IMAGENET),
        RESNET_KEEP,
        (0.2, 0.3, 0.4, 0.5),
        'floor',
        ('reference', 'exact'),
    ),
}


def load(name: str, root: Path) -> nn.Module:
    """A network with its published weights."""
    model = NETS[name][0]().eval()
    state = torch.load(root / 'weights' / NETS[name][1], map_location='cpu', weights_only=True)['state_dict']
    state = rename_published(state, model.backbone.published_keys)
    missing = model.load_state_dict(state, strict=False)
    if missing.unexpected_keys or [key for key in missing.missing_keys if 'num_batches' not in key]:
        raise ValueError(f'{name}: {missing}')
    return model


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 in percent."""
    return 100 * float((torch.cat([model(batch).argmax(1) for batch in images.split(256)]) == labels).float().mean())


def measure(
    name: str, root: Path, grid: list[float], wanted: list[float] | None, say: Callable[[str], None]
) -> list[dict]:
    """The rows of one network, for all its ratios or those wanted."""
    _, _, read, keep, ratios, rounding, modes = NETS[name]
    dense, (images, labels) = load(name, root), read(root)
    rows = []

    def run(ratio: float, restorer: dict | None) -> float:
        model = copy.deepcopy(dense)
        pruner = dict(
            type='ChannelPruner',
            criterion='L2Norm',
            keep=list(keep),
            allocator=dict(type='Uniform', ratio=ratio, rounding=rounding),
        )
        mmprune.prune(model, images[:1], pruner=pruner, restorer=restorer)
        return round(accuracy(model, images, labels), 2)

    base = round(accuracy(dense, images, labels), 2)
    for ratio in wanted or ratios:
        cut, merged = run(ratio, None), run(ratio, dict(type='NeuronMerging'))
        for mode in modes:
            start = time.perf_counter()
            by_lambda = {
                value: run(ratio, dict(type='LBYL', mode=mode, lambda1=value / 200, lambda2=value)) for value in grid
            }
            best = max(by_lambda, key=by_lambda.get)
            row = {
                'net': name,
                'ratio': ratio,
                'mode': mode,
                'dense': base,
                'cut': cut,
                'neuron_merging': merged,
                'default': run(ratio, dict(type='LBYL', mode=mode)),
                'auto': run(ratio, dict(type='LBYL', mode=mode, lambda1='auto', lambda2='auto')),
                'best': by_lambda[best],
                'best_lambda2': best,
                'by_lambda2': by_lambda,
            }
            row['auto_minus_best'] = round(row['auto'] - row['best'], 2)
            rows.append(row)
            say(
                f'{name:9} {ratio:5} {mode:9} {base:7.2f} {cut:7.2f} {merged:7.2f} {row["default"]:9.2f} '
                f'{row["auto"]:7.2f} {row["best"]:7.2f} (λ2 {best:g})  {time.perf_counter() - start:.0f} s'
            )
    return rows


def main() -> None:
    """Print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', type=Path)
    parser.add_argument('--nets', nargs='+', default=list(NETS), choices=list(NETS))
    parser.add_argument('--grid', nargs='+', type=float, default=list(GRID))
    parser.add_argument('--ratios', nargs='+', type=float, help='default: those of the published tables')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    print(
        f'{"net":9} {"ratio":>5} {"mode":9} {"dense":>7} {"cut":>7} {"NM":>7} {"1e-5/2e-3":>9} {"auto":>7} '
        f'{"best of the grid":>7}',
        flush=True,
    )
    rows = []
    for name in args.nets:
        rows += measure(name, args.data_root, args.grid, args.ratios, lambda line: print(line, flush=True))
        if args.out:
            args.out.write_text(json.dumps({'schema_version': 1, 'unit': 'top-1 percent', 'rows': rows}, indent=2))


if __name__ == '__main__':
    main()
