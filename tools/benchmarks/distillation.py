"""One fine-tuning iteration of DFBF: ours against the literal one, in turn in one run.

The literal iteration is the published program's: hooks on the blocks, a teacher in eval mode that runs with gradients
and gets them in the backward pass. Both start from the same weights and see the same images.

    python tools/benchmarks/distillation.py work_dirs/benchmark_distillation.json --network resnet18
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

import mmprune
from mmprune.distillation import FeatureDistillation
from mmprune.models import CIFARVGG, CIFARResNet, WideCIFARResNet
from mmprune.storage.files import write_atomically

NETWORKS = {
    'resnet18': (lambda: WideCIFARResNet(18, stem_pool=True), ['conv1', '*.conv2', '*.downsample*']),
    'resnet56': (lambda: CIFARResNet(56, shortcut='conv1x1'), ['conv1', '*.conv2', '*.downsample*']),
    'vgg16': (lambda: CIFARVGG(16), [f'features.{conv}' for conv in (0, 3, 10, 20, 30, 40)]),
}


class Host(nn.Module):
    """A model with nothing but a backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: torch.Tensor) -> object:
        """Features."""
        return self.backbone(images)


class Literal:
    """Σ_k mean|S_k − T_k| by hooks on both networks; gradients reach the teacher as well."""

    def __init__(self, student: nn.Module, teacher: nn.Module, names: list[str]) -> None:
        self.features = {student: [], teacher.eval(): []}
        for model, kept in self.features.items():
            for name in names:
                model.get_submodule(name).register_forward_hook(lambda m, a, out, kept=kept: kept.append(out))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The loss of one batch (N, 3, 32, 32)."""
        for model, kept in self.features.items():
            kept.clear()
            model(images)
        pairs = zip(*self.features.values())
        return sum(F.l1_loss(s, t) for s, t in pairs)


def build(network: str) -> tuple[nn.Module, nn.Module]:
    """Student (half of the inner channels gone, train mode) and teacher."""
    torch.manual_seed(0)
    make, keep = NETWORKS[network]
    student = Host(make())
    teacher = copy.deepcopy(student)
    mmprune.prune(
        student,
        torch.zeros(1, 3, 32, 32),
        'backbone',
        restorer=None,
        pruner=dict(type='ChannelPruner', keep=keep, allocator=dict(type='Uniform', ratio=0.5)),
    )
    return student.train(), teacher


def iteration(kind: str, network: str, images: torch.Tensor) -> object:
    """A function that does one iteration and returns its loss."""
    student, teacher = build(network)
    loss = FeatureDistillation(bn='train').loss(student, teacher, ['backbone'], images[:1])
    if kind == 'literal':
        teacher.requires_grad_(True)
        literal = Literal(student, teacher, [point.name for point, _ in loss.terms.values()])
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> float:
        optimizer.zero_grad()
        total = literal(images) if kind == 'literal' else sum(loss(images).values())
        total.backward()
        optimizer.step()
        return total.item()

    return step


def peak_memory(kind: str, network: str, batch_size: int) -> int:
    """Peak resident memory in MiB of a process that does three iterations of one kind (Linux)."""
    code = (
        f'import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import torch\n'
        f'from benchmark_distillation import iteration\ntorch.set_num_threads(1)\n'
        f'step = iteration({kind!r}, {network!r}, torch.randn({batch_size}, 3, 32, 32))\n'
        'for _ in range(3): step()\n'
        'status = open("/proc/self/status").read()\n'
        'print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)'
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True, check=True, env=environment)
    return int(done.stdout.split()[-1])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path, help='JSON file to write')
    parser.add_argument('--network', choices=NETWORKS, default='resnet18')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--rounds', type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(args.batch_size, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    steps = {kind: iteration(kind, args.network, images) for kind in ('literal', 'ours')}
    times, losses = {kind: [] for kind in steps}, {kind: [] for kind in steps}
    for _ in range(args.rounds + 1):
        for kind, step in steps.items():
            start = time.perf_counter()
            losses[kind].append(step())
            times[kind].append(1000 * (time.perf_counter() - start))
    medians = {kind: median(values[1:]) for kind, values in times.items()}  # the first is warm-up
    gap = abs(losses['ours'][0] / losses['literal'][0] - 1)  # the same weights; later ones drift apart
    result = dict(
        network=args.network,
        batch_size=args.batch_size,
        rounds=args.rounds,
        threads=1,
        torch=torch.__version__,
        literal_ms=round(medians['literal'], 1),
        ours_ms=round(medians['ours'], 1),
        speedup=round(medians['literal'] / medians['ours'], 3),
        relative_loss_gap=gap,
        peak_memory_mib={kind: peak_memory(kind, args.network, args.batch_size) for kind in steps},
    )
    write_atomically(args.out, json.dumps(result, indent=1) + '\n')
    print(json.dumps(result, indent=1))


if __name__ == '__main__':
    main()
