"""Time one iteration of DeepInversion against the literal step, in turn in one run, and weigh both in fresh processes.

    OMP_NUM_THREADS=1 python tools/benchmarks/synthesis.py data --out configs/dfbf/benchmark_synthesis.json

Networks: the published ResNet-56 for CIFAR-10 and DFBF's ResNet-18 with random weights. The literal step is
tests/oracles/deep_inversion.py: parameters with gradients, mean and variance apart. On a busy machine look at the CPU
seconds, with one thread. The few pixels that differ after the first iteration are those whose gradient is nothing but
rounding: Adam's first step is its sign.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from mmprune.graph.scope import Scope  # noqa: E402
from mmprune.images import DeepInversion  # noqa: E402
from mmprune.images.inverted_network import InvertedNetwork  # noqa: E402
from mmprune.images.phase import Phase  # noqa: E402
from mmprune.images.pixel_range import pixel_range  # noqa: E402
from mmprune.models.published import published_keys_of, rename_published  # noqa: E402
from mmprune.registry import MODELS  # noqa: E402
from mmprune.storage.files import write_atomically  # noqa: E402
from tests.oracles import deep_inversion as oracle  # noqa: E402

NETS = {'resnet56': ('resnet56_nm_cifar.py', 'resnet56_nm_cifar10.pth'), 'resnet18': ('resnet18_dfbf_cifar.py', None)}
WEIGHTS = dict(main=1.0, bn=10.0, first_bn=1.0, tv1=0.0, tv2=1e-3, l2=0.0, l2_norm='batch')


def build(net: str, data_root: Path) -> nn.Module:
    """The network in eval mode."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    config, weights = NETS[net]
    model = MODELS.build(Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / config).model).eval()
    if weights:
        state = torch.load(data_root / 'weights' / weights, map_location='cpu', weights_only=True)
        state = rename_published(state.get('state_dict', state), published_keys_of(model))
        model.load_state_dict({key: value for key, value in state.items() if not key.startswith('data_')})
    return model


def iteration(who: str, model: nn.Module, batch: int) -> Callable[[], tuple[float, torch.Tensor]]:
    """A function that does one iteration of one side, and returns the loss before and the images after it."""
    moves, labels = torch.Generator().manual_seed(0), torch.arange(batch) % 10
    x = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    low, high = pixel_range('imagenet', model, 3)
    phase, synthesizer = Phase(2000, jitter=2), DeepInversion()
    if who == 'ours':
        network = InvertedNetwork(Scope.of(model, torch.zeros(1, 3, 32, 32)))
        x = x.contiguous(memory_format=torch.channels_last)
        bounds = tuple(torch.tensor(end).view(-1, 1, 1) for end in (low, high))
    x.requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1, betas=(0.9, 0.99))

    def run() -> tuple[float, torch.Tensor]:
        moved = phase.draw(False, moves)
        if who == 'ours':
            with network.fixed():
                losses = synthesizer.step(network, x, labels, optimizer, moved, bounds)
        else:
            losses = oracle.step(
                model,
                lambda images: model(images, mode='tensor'),
                x,
                labels,
                optimizer,
                **moved,
                low=low,
                high=high,
                **WEIGHTS,
            )
        return float(losses['total'].detach()), x.detach()

    return run


def compare(net: str, data_root: Path, batch: int, repeats: int) -> dict:
    """Times of both sides, in turn."""
    model = build(net, data_root)
    sides = {who: iteration(who, copy.deepcopy(model), batch) for who in ('ours', 'literal')}
    seconds, cpu, first = ({who: [] for who in sides} for _ in range(3))
    for number in range(repeats + 1):
        for who, run in sides.items():
            start, clock = time.perf_counter(), time.process_time()
            loss, images = run()
            if number == 0:  # warms up
                first[who] = loss, images.clone()
                continue
            seconds[who].append(time.perf_counter() - start)
            cpu[who].append(time.process_time() - clock)
    changed = (first['ours'][1] - first['literal'][1]).abs() > 1e-5
    row = dict(
        net=net,
        batch=batch,
        iterations=repeats,
        relative_difference_of_loss=abs(first['ours'][0] / first['literal'][0] - 1),
        share_of_pixels_differing=float(changed.double().mean()),
    )
    for key, times in (('s', seconds), ('cpu_s', cpu)):
        row |= {f'{who}_{key}': median(times[who]) for who in sides}
    return row | {'ratio': row['literal_s'] / row['ours_s'], 'cpu_ratio': row['literal_cpu_s'] / row['ours_cpu_s']}


def peak_mb(net: str, who: str, data_root: Path, batch: int) -> float:
    """Peak memory of one side's iterations in a fresh process, MB (Linux)."""
    command = [sys.executable, __file__, str(data_root), '--nets', net, '--batch', str(batch), '--only', who]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    """Run all networks, print the ratios, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', type=Path)
    parser.add_argument('--nets', nargs='+', default=list(NETS), choices=list(NETS))
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path, help='JSON file to write')
    parser.add_argument('--only', choices=('ours', 'literal'), help='run one side and print its peak memory in MB')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        run = iteration(args.only, build(args.nets[0], args.data_root), args.batch)
        for _ in range(2):
            run()
        status = Path('/proc/self/status').read_text()  # getrusage would tell the parent's peak if it is higher
        print(int(status.split('VmHWM:')[1].split()[0]) / 1024)
        return
    rows = []
    for net in args.nets:
        row = compare(net, args.data_root, args.batch, args.repeats)
        row |= {f'{who}_peak_mb': peak_mb(net, who, args.data_root, args.batch) for who in ('ours', 'literal')}
        rows.append(row)
        print(
            f'{net}: {row["cpu_ratio"]:.2f} times as fast as the literal step in CPU time ({row["ours_cpu_s"]:.2f} '
            f'against {row["literal_cpu_s"]:.2f} s), peak memory {row["ours_peak_mb"]:.0f} against '
            f'{row["literal_peak_mb"]:.0f} MB',
            flush=True,
        )
    if args.out:
        result = dict(schema_version=1, torch=torch.__version__, machine=platform.machine(), threads=1, rows=rows)
        write_atomically(args.out, json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
