"""Time LBYL against the literal per-filter solver, in one run, on the layers of ResNet-50 and VGG-16.

Both repair the same sites of torchvision's networks (random weights, random batch-norm statistics): every inner conv
of ResNet-50's blocks and all convs of VGG-16, whose last one feeds a linear layer of 512 features as in the published
network. The literal solver is tests/oracles/lbyl.py. On a busy machine look at the CPU seconds, with one thread.

    python tools/benchmarks/lbyl.py --out benchmark_lbyl.json
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from mmprune.graph.site import Activation, Branch, Norm, Site  # noqa: E402
from mmprune.restorers.lbyl import LBYL  # noqa: E402
from mmprune.restorers.mixing import leading_norm  # noqa: E402
from mmprune.surgery.slicing import complement  # noqa: E402
from tests.oracles import lbyl as oracle  # noqa: E402

RELU = Activation('relu', torch.relu)


def resnet50_plan(model: nn.Module) -> list[tuple[str, str, str]]:
    """Producer, norm and reader of every site."""
    blocks = [name for name, module in model.named_modules() if hasattr(module, 'conv3')]
    return [(f'{b}.conv{k}', f'{b}.bn{k}', f'{b}.conv{k + 1}') for b in blocks for k in (1, 2)]


def vgg16_plan(model: nn.Module) -> list[tuple[str, str, str]]:
    """Producer, norm and reader of every site."""
    convs = [int(name.split('.')[1]) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    readers = [*(f'features.{i}' for i in convs[1:]), 'classifier.0']
    return [(f'features.{i}', f'features.{i + 1}', reader) for i, reader in zip(convs, readers)]


def vgg16() -> nn.Module:
    """Torchvision's convs, the published classifier."""
    model = torchvision.models.vgg16_bn(init_weights=False)
    model.classifier = nn.Sequential(nn.Linear(512, 512))
    return model


NETS = {'resnet50': (torchvision.models.resnet50, resnet50_plan), 'vgg16': (vgg16, vgg16_plan)}


def randomise(model: nn.Module) -> None:
    """Batch norms as a trained network has them: spread scales, a few of them negative."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.weight.shape
            sign = torch.where(torch.rand(size) < 0.05, -1.0, 1.0)
            module.weight.data = 0.3 * torch.exp(0.5 * torch.randn(size)) * sign
            module.bias.data = 0.3 * torch.randn(size)
            module.running_mean.copy_(0.3 * torch.randn(size))
            module.running_var.copy_(0.2 * torch.exp(torch.randn(size)))


def find_sites(model: nn.Module, plan: list[tuple[str, str, str]]) -> list[Site]:
    """The plan as sites."""
    modules, sites = dict(model.named_modules()), []
    for producer, norm, reader in plan:
        width = modules[producer].out_channels
        index = torch.arange(modules[reader].weight.shape[1]).reshape(width, -1)
        chain = (Norm(norm, modules[norm], torch.arange(width)), RELU)
        branch = Branch(reader, modules[reader], index, chain)
        sites.append(Site(producer, width, producer, modules[producer], torch.arange(width), (branch,)))
    return sites


def run_ours(sites: list[Site], keeps: list[torch.Tensor], mode: str) -> None:
    """The product."""
    restorer = LBYL(mode)
    restorer.prepare(sites)
    for site, keep in zip(sites, keeps):
        restorer.restore_site(site, keep)


def run_literal(sites: list[Site], keeps: list[torch.Tensor], mode: str) -> list[np.ndarray]:
    """One system per removed filter; returns the readers' kept columns, each of shape (o, m, taps)."""
    solver = oracle.lbyl_exact if mode == 'exact' else oracle.lbyl_reference
    mixed = []
    for site, keep in zip(sites, keeps):
        branch = site.branches[0]
        gamma, beta, mean, var = (vector.numpy() for vector in leading_norm(branch).parameters())
        if site.producer.bias is not None:
            mean = mean - site.producer.bias.detach().double().numpy()
        removed = complement(keep, site.width).tolist()
        z = solver(site.producer_weight().numpy(), (gamma, beta, mean, var), keep.tolist(), removed, 1e-5, 2e-3)
        weight = branch.read_weight().numpy().transpose(1, 0, 2)
        mixed.append(weight[:, keep.numpy()] + np.matmul(z.T, weight[:, removed]))
    return mixed


def timed(function: Callable, *args: object) -> tuple[float, float, object]:
    """Elapsed seconds, CPU seconds of all threads, and the result."""
    start, cpu = time.perf_counter(), time.process_time()
    result = function(*args)
    return time.perf_counter() - start, time.process_time() - cpu, result


def compare(name: str, ratio: float, mode: str, repeats: int) -> dict:
    """Times of one network at one ratio, the best of some runs for ours."""
    torch.manual_seed(0)
    make, plan_of = NETS[name]
    model = make().eval()
    randomise(model)
    plan = plan_of(model)
    sites = find_sites(model, plan)
    keeps = [torch.randperm(site.width)[: int(site.width * (1 - ratio))].sort().values for site in sites]
    widest = max(range(len(sites)), key=lambda k: (sites[k].width, sites[k].producer.weight.numel()))
    one = slice(widest, widest + 1)

    whole = []
    for _ in range(repeats):
        fresh = find_sites(copy.deepcopy(model), plan)
        whole.append(timed(run_ours, fresh, keeps, mode)[:2])
    layer = [
        timed(run_ours, find_sites(copy.deepcopy(model), plan)[one], keeps[one], mode)[:2] for _ in range(repeats + 2)
    ]
    literal = find_sites(copy.deepcopy(model), plan)
    literal_layer = timed(run_literal, literal[one], keeps[one], mode)
    literal_whole = timed(run_literal, literal, keeps, mode)
    difference = max(
        float(np.abs(site.branches[0].read_weight().numpy().transpose(1, 0, 2)[:, keep.numpy()] - value).max())
        for site, keep, value in zip(fresh, keeps, literal_whole[2])
    )
    row = {
        'net': name,
        'ratio': ratio,
        'mode': mode,
        'sites': len(sites),
        'widest_layer': sites[widest].name,
        'widest_shape': list(sites[widest].producer.weight.shape),
        'max_abs_difference': difference,
    }
    for part, ours, theirs in (('widest', layer, literal_layer), ('whole', whole, literal_whole)):
        for k, unit in enumerate(('s', 'cpu_s')):
            best = min(run[k] for run in ours)
            row |= {f'{part}_ours_{unit}': best, f'{part}_literal_{unit}': theirs[k]}
            row[f'{part}_speedup_{unit}'] = theirs[k] / best
    return row


def main() -> None:
    """Run all cases, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--nets', nargs='+', default=list(NETS), choices=list(NETS))
    parser.add_argument('--ratios', nargs='+', type=float, default=[0.3, 0.5])
    parser.add_argument('--modes', nargs='+', default=['reference', 'exact'], choices=['reference', 'exact'])
    parser.add_argument('--repeats', type=int, default=3, help='runs of ours, the best counts')
    parser.add_argument('--out', type=Path, help='JSON file to write')
    args = parser.parse_args()
    columns = [
        f'{part}_{who}_{unit}'
        for part in ('widest', 'whole')
        for unit in ('s', 'cpu_s')
        for who in ('ours', 'literal', 'speedup')
    ]
    rows = []
    for net in args.nets:
        for ratio in args.ratios:
            for mode in args.modes:
                row = compare(net, ratio, mode, args.repeats)
                rows.append(row)
                print(
                    f'{net} {ratio} {mode}: widest {row["widest_layer"]} {row["widest_shape"]}, '
                    f'largest difference {row["max_abs_difference"]:.1e}'
                )
                for column in columns:
                    print(f'    {column:24} {row[column]:9.3f}', flush=True)
    if args.out:
        versions = {'python': platform.python_version(), 'torch': torch.__version__, 'numpy': np.__version__}
        machine = {'cpus': os.cpu_count(), 'torch_threads': torch.get_num_threads(), 'machine': platform.machine()}
        args.out.write_text(json.dumps({'schema_version': 1, 'versions': versions, **machine, 'rows': rows}, indent=2))


if __name__ == '__main__':
    main()
