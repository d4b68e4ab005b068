"""Why LBYL falls behind Neuron Merging on ResNet-56 at ratio .5: block by block, what the repaired conv hands on.

Every block is fed with the dense network's input (128 CIFAR-10 training images). Printed are averages over blocks and
channels, in units of the dense output's variance, and the accuracy (1,017 test images) when mean and variance of the
following batch norm are set to what was measured.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmprune
from mmprune.registry import MODELS

CONFIG = 'configs/lbyl/resnet56_lbyl-l2-r30_cifar10.py'


def images(path: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Normalised images (N, 3, 32, 32) and labels (N,)."""
    data = np.load(path)
    x = torch.from_numpy(data['x'][:count]).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    return (x - mean[:, None, None]) / std[:, None, None], torch.from_numpy(data['y'][:count]).long()


def inputs(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What every block gets, by the block's name."""
    found, hooks = {}, []
    for name, module in model.named_modules():
        if name.endswith('.conv1') and 'layer' in name:
            keep = lambda _, args, name=name: found.__setitem__(name[: -len('.conv1')], args[0])  # noqa: E731
            hooks.append(module.register_forward_pre_hook(keep))
    model(x, mode='tensor')
    for hook in hooks:
        hook.remove()
    return found


def read(block: nn.Module, x: Tensor) -> Tensor:
    """Output of the block's second conv."""
    return block.conv2(block.bn1(block.conv1(x)).relu())


@torch.no_grad()
def main() -> None:
    """Print the table."""
    cfg = Config.fromfile(CONFIG)
    init_default_scope(cfg.default_scope)
    dense = MODELS.build(cfg.model).eval()
    load_checkpoint(dense, cfg.load_from, map_location='cpu')
    fed = inputs(dense, images('data/cifar10/cifar10_train_lossless_8068.npz', 128)[0])
    x, y = images('data/cifar10/cifar10_test_lossless_1017.npz')
    for ratio in (0.3, 0.5):
        for restorer in ('NeuronMerging', 'LBYL'):
            pruned = copy.deepcopy(dense)
            pruner = {**cfg.pruning.pruner, 'allocator': dict(type='Uniform', ratio=ratio)}
            mmprune.prune(pruned, torch.zeros(1, 3, 32, 32), 'backbone', pruner, restorer)
            rows = []
            for name, given in fed.items():
                old, new = dense.get_submodule(name), pruned.get_submodule(name)
                before, after = read(old, given), read(new, given)
                variance, difference = before.var((0, 2, 3)), after - before
                rows.append(
                    [
                        (difference.mean((0, 2, 3)) ** 2 / variance).mean(),
                        (difference.var((0, 2, 3)) / variance).mean(),
                        (after.var((0, 2, 3)) / variance).mean(),
                    ]
                )
                new.bn2.running_mean += difference.mean((0, 2, 3))
                new.bn2.running_var *= after.var((0, 2, 3)) / variance
            shift, residual, share = torch.tensor(rows).mean(0).tolist()
            right = torch.cat([pruned(batch, mode='tensor').argmax(1) for batch in x.split(256)]) == y
            print(
                f'{ratio} {restorer:14} mean shift² {shift:.3f}  residual variance {residual:.3f}  '
                f'variance left {share:.2f}  top-1 with measured statistics {100 * right.double().mean():.1f} %'
            )


if __name__ == '__main__':
    main()
