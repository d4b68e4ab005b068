"""Measure RedundancyGraph on the real CIFAR ResNet-56 of Neuron Merging, and write the tables of its README.

python tools/results/redundancy_resnet56.py data --parts similarity pruning budget finetuning
python tools/results/redundancy_resnet56.py data --parts            # only rewrite the tables from results.json
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmprune
from mmprune.criteria import RedundancyGraph
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.models import published_keys_of, rename_published
from mmprune.registry import MODELS
from mmprune.storage.files import write_atomically

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs' / 'redundancy_graph'
RESIDUAL = ['backbone.conv1', '*.conv2', '*.downsample*']
LBYL = dict(type='LBYL', lambda1=1e-5, lambda2=2e-3)
RESTORERS = {'cut': None, 'LBYL': LBYL, 'MomentRestoration': 'MomentRestoration'}
THRESHOLDS = (0.65, 0.70, 0.75)
#: FLOPs and parameters that the authors' own checkpoint loses, in %.
PUBLISHED = {0.65: (57.05, 33.60), 0.70: (41.96, 18.93), 0.75: (32.82, 12.85)}
GRAY = dict(type='PinkNoise', gray=0.7)


class Study:
    """The network and its images."""

    def __init__(self, data: Path) -> None:
        init_default_scope('mmpretrain')
        self.config = Config.fromfile(ROOT / 'configs/_base_/models/resnet56_nm_cifar.py').model
        checkpoint = data / 'weights' / 'resnet56_nm_cifar10.pth'
        self.state = torch.load(checkpoint, map_location='cpu', weights_only=True)['state_dict']
        self.test, self.labels = self._load(data / 'cifar10' / 'cifar10_test_lossless_1017.npz')
        self.train, self.train_labels = self._load(data / 'cifar10' / 'cifar10_train_lossless_8068.npz')
        self.example = torch.zeros(1, 3, 32, 32)
        self.dense: dict[str, float] | None = None

    def _load(self, path: Path) -> tuple[Tensor, Tensor]:
        data, preprocessor = np.load(path), self.config.data_preprocessor
        mean, std = (torch.tensor(preprocessor[key])[:, None, None] for key in ('mean', 'std'))
        images = torch.from_numpy(data['x']).permute(0, 3, 1, 2).float()
        return (images - mean) / std, torch.from_numpy(data['y']).long()

    def model(self) -> nn.Module:
        """The published network."""
        model = MODELS.build(self.config).eval()
        model.load_state_dict(rename_published(self.state, published_keys_of(model)))
        return model

    @torch.no_grad()
    def accuracy(self, model: nn.Module) -> dict[str, float]:
        """Top-1 in percent on the 1,017 test images."""
        model.eval()
        found = torch.cat([model(batch, mode='tensor').argmax(1) for batch in self.test.split(256)])
        return {'top1': round(100 * float((found == self.labels).double().mean()), 2)}

    def prune(self, criterion: Mapping, restorer: object = None, keep: Iterable[str] = (), images: int = 0,
              allocator: Mapping | None = None) -> tuple[nn.Module, dict]:  # fmt: skip
        """Prune the published network, with the first training images where ``images`` says so."""
        model = self.model()
        self.dense = self.dense or self.accuracy(model)
        measured = iter([lambda: self.dense])  # the dense network is always the same
        pruner = dict(type='ChannelPruner', criterion=criterion, keep=list(keep), allocator=allocator)
        report = mmprune.prune(
            model, self.example, pruner=pruner, restorer=restorer,
            evaluate=lambda: next(measured, lambda: self.accuracy(model))(),
            images=self.train[:images].split(100) if images else None,
        )  # fmt: skip
        dense, last = report.stages[0], report.stages[-1]
        widths = {row.name.removeprefix('backbone.'): row.after for row in report.layers if row.name != 'head.fc'}
        return model, {
            'flops_drop': round(100 - 100 * last.flops / dense.flops, 2),
            'params_drop': round(100 - 100 * last.params / dense.params, 2),
            'dense': dense.metrics['top1'],
            'pruned': report.stages[1].metrics['top1'],
            'top1': last.metrics['top1'],
            'widths': widths,
        }

    def finetune(self, model: nn.Module, epochs: int, lr: float = 0.01) -> dict:
        """Train with the published optimiser on the 8,068 training images; the rate falls to 0 along a cosine."""
        generator, start = torch.Generator().manual_seed(0), time.process_time()
        optimiser = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        steps, batch = epochs * (len(self.train) // 128), 128
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        model.train()
        for _ in range(epochs):
            order = torch.randperm(len(self.train), generator=generator)
            for chosen in order.split(batch)[: len(self.train) // batch]:
                images = F.pad(self.train[chosen], (4, 4, 4, 4))
                y, x = torch.randint(0, 9, (2,), generator=generator).tolist()
                images = images[:, :, y : y + 32, x : x + 32]
                images = images.flip(3) if torch.rand((), generator=generator) < 0.5 else images
                optimiser.zero_grad()
                F.cross_entropy(model(images, mode='tensor'), self.train_labels[chosen]).backward()
                optimiser.step()
                schedule.step()
        return {'epochs': epochs, 'finetuned': self.accuracy(model)['top1'],
                'cpu_s': round(time.process_time() - start)}  # fmt: skip


def sources(study: Study) -> dict[str, tuple[dict, int]]:
    """What can stand for the images: arguments of the criterion, number of training images."""
    return {
        'real': (dict(inputs='real'), 100),
        'noise': (dict(inputs='noise'), 0),
        'weights': (dict(inputs='weights'), 0),
    }


def similarity(study: Study) -> list[dict]:
    """How well similarities without images agree with those of 100 real images, layer by layer."""
    model = study.model()
    scope = Scope.of(model, study.example)
    groups = [group for group in find_groups(model, scope.forward, study.example, scope.targets) if group.prunable]

    def measure(first: int = 0, **options: object) -> dict[str, np.ndarray]:
        criterion = RedundancyGraph(**options)
        images = [study.train[first : first + 100]]
        with tracing_mode(model):
            criterion.prepare(groups, scope.forward, criterion.images_for(study.example, images))
        return {group.name: criterion.similarity(group.name) for group in groups}

    rows = []
    for dc in (True, False):
        real, noise = measure(inputs='real', dc=dc), measure(inputs='noise', batch_statistics=False, dc=dc)
        cases = {
            'other 100 real images': measure(200, inputs='real', dc=dc),
            'real, batch statistics': measure(inputs='real', dc=dc, batch_statistics=True),
            'noise, running statistics': noise,
            'noise': measure(inputs='noise', dc=dc),
            'pink, gray 0.7': measure(inputs=GRAY, dc=dc),
            'weights': measure(inputs='weights', dc=dc),
        }
        for name, reference, case in [
            *(('real', real, case) for case in cases),
            ('noise, running statistics', noise, 'weights'),
        ]:
            layers = {}
            for group in groups:
                upper = np.triu_indices(group.width, 1)
                a, b = cases[case][group.name][upper], reference[group.name][upper]
                layers[group.name] = (np.corrcoef(a, b)[0, 1], np.sqrt(np.mean((a - b) ** 2)))
            values = np.array(list(layers.values()))
            rows.append({
                'dc': dc, 'inputs': case, 'against': name,
                'correlation': {'mean': values[:, 0].mean(), 'min': values[:, 0].min(), 'max': values[:, 0].max(),
                                'first_layer': values[0, 0]},
                'rmse': {'mean': values[:, 1].mean(), 'max': values[:, 1].max(), 'first_layer': values[0, 1]},
                'layers': {key: [round(float(v), 4) for v in pair] for key, pair in layers.items()},
            })  # fmt: skip
            for key in ('correlation', 'rmse'):
                rows[-1][key] = {k: round(float(v), 3) for k, v in rows[-1][key].items()}
            print({key: value for key, value in rows[-1].items() if key != 'layers'}, flush=True)
    return rows


def pruning(study: Study) -> list[dict]:
    """Thresholds as published: all channels, and the inner ones only (residual sums stay whole)."""
    rows = []
    for threshold in THRESHOLDS:
        for name, (inputs, images) in sources(study).items():
            for scope, keep in (('all', ()), ('inner', RESIDUAL)):
                for restorer, cfg in RESTORERS.items():
                    if scope == 'all' and restorer != 'MomentRestoration':
                        continue  # its row says 'cut' too; LBYL repairs inner convs only
                    if scope == 'inner' and restorer == 'cut':
                        continue
                    criterion = dict(type='RedundancyGraph', threshold=threshold, **inputs)
                    _, row = study.prune(criterion, cfg, keep, images)
                    rows.append(
                        {'threshold': threshold, 'inputs': name, 'channels': scope, 'restorer': restorer, **row}
                    )
                    print({k: v for k, v in rows[-1].items() if k != 'widths'}, flush=True)
    return rows


def budget(study: Study) -> list[dict]:
    """Equal FLOPs: RedundancyGraph with a target against L2Norm with a uniform ratio, inner channels."""
    rows = []
    for share in (0.8, 0.65, 0.5):
        for name, (inputs, images) in {**sources(study), 'L2Norm, uniform': ({}, 0)}.items():
            if name == 'weights':
                continue
            if 'L2Norm' in name:
                criterion, allocator = dict(type='L2Norm'), dict(type='Uniform', target=dict(flops=share))
            else:
                criterion, allocator = dict(type='RedundancyGraph', target=dict(flops=share), **inputs), None
            _, row = study.prune(criterion, 'MomentRestoration', RESIDUAL, images, allocator)
            rows.append({'flops': share, 'inputs': name, **row})
            print({k: v for k, v in rows[-1].items() if k != 'widths'}, flush=True)
    return rows


def finetuning(study: Study, epochs: int) -> list[dict]:
    """All channels at the published thresholds, then a short training on real images."""
    rows = []
    for threshold, name in ((0.75, 'real'), (0.75, 'noise')):
        inputs, images = sources(study)[name]
        model, row = study.prune(dict(type='RedundancyGraph', threshold=threshold, **inputs), images=images)
        rows.append({'threshold': threshold, 'inputs': name, **row, **study.finetune(model, epochs)})
        print({k: v for k, v in rows[-1].items() if k != 'widths'}, flush=True)
    return rows


# ---- tables --------------------------------------------------------------------------------------------------------


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows])


def tables(results: dict) -> dict[str, str]:
    """Every table of the README by the name of its mark."""
    makers = {'similarity': similarity_table, 'pruning': pruning_tables, 'budget': budget_table,
              'finetuning': finetuning_table}  # fmt: skip
    found: dict[str, str] = {}
    for part, make in makers.items():
        found |= make(results[part]) if part in results else {}
    return found


def similarity_table(rows: list[dict]) -> dict[str, str]:
    """Correlation and RMSE against measured similarities."""
    head = ['hash', 'inputs', 'against', 'correlation: mean (min … max)', 'first layer', 'RMSE: mean', 'first layer']
    lines = []
    for row in rows:
        spread = '{mean:.2f} ({min:.2f} … {max:.2f})'.format(**row['correlation'])
        first, rmse = row['correlation']['first_layer'], row['rmse']
        hashed = 'with dc' if row['dc'] else 'dc=False'
        lines.append([hashed, row['inputs'], row['against'], spread, f'{first:.3f}', f'{rmse["mean"]:.3f}',
                      f'{rmse["first_layer"]:.3f}'])  # fmt: skip
    return {'similarity': markdown(head, lines)}


def sizes(row: dict) -> list[str]:
    """What is gone."""
    return [f'{row["flops_drop"]:.2f}', f'{row["params_drop"]:.2f}']


def pruning_tables(rows: list[dict]) -> dict[str, str]:
    """All channels, inner channels, widths."""
    head = ['τ', 'inputs', 'FLOPs −%', 'params −%', '*published*', 'top-1 right after', 'MomentRestoration']
    every = [row for row in rows if row['channels'] == 'all']
    lines = []
    for row in every:
        published = '*{:.2f} / {:.2f}*'.format(*PUBLISHED[row['threshold']])
        lines.append([f'{row["threshold"]:.2f}', row['inputs'], *sizes(row), published, f'{row["pruned"]:.2f}',
                      f'{row["top1"]:.2f}'])  # fmt: skip
    inner = [row for row in rows if row['channels'] == 'inner']
    top1 = {(row['threshold'], row['inputs'], row['restorer']): f'{row["top1"]:.2f}' for row in inner}
    keys = list(dict.fromkeys((row['threshold'], row['inputs']) for row in inner))
    first = {key: next(row for row in inner if (row['threshold'], row['inputs']) == key) for key in keys}
    inner_lines = [[f'{key[0]:.2f}', key[1], *sizes(first[key]), f'{first[key]["pruned"]:.2f}', top1[*key, 'LBYL'],
                    top1[*key, 'MomentRestoration']] for key in keys]  # fmt: skip
    inner_head = ['τ', 'inputs', 'FLOPs −%', 'params −%', 'top-1 right after', 'LBYL', 'MomentRestoration']
    return {'all': markdown(head, lines), 'inner': markdown(inner_head, inner_lines), 'widths': widths_table(every)}


def budget_table(rows: list[dict]) -> dict[str, str]:
    """Equal FLOPs."""
    head = ['FLOPs left', 'chosen by', 'FLOPs −%', 'params −%', 'top-1 right after', 'MomentRestoration']
    lines = [[f'{row["flops"]:.0%}', row['inputs'], *sizes(row), f'{row["pruned"]:.2f}', f'{row["top1"]:.2f}']
             for row in rows]  # fmt: skip
    return {'budget': markdown(head, lines)}


def finetuning_table(rows: list[dict]) -> dict[str, str]:
    """A short training."""
    head = ['τ', 'inputs', 'FLOPs −%', 'params −%', 'right after', 'epochs', 'fine-tuned', 'CPU s']
    lines = [[f'{row["threshold"]:.2f}', row['inputs'], *sizes(row), f'{row["pruned"]:.2f}', str(row['epochs']),
              f'{row["finetuned"]:.2f}', str(row['cpu_s'])] for row in rows]  # fmt: skip
    return {'finetuning': markdown(head, lines)}


def widths_table(rows: list[dict]) -> str:
    """Kept widths: residual streams and the inner convs of each stage."""
    streams = ('conv1', 'layer2.0.conv2', 'layer3.0.conv2')

    def inner(widths: dict[str, int], stage: int) -> str:
        return ' '.join(str(n) for name, n in widths.items()
                        if name.startswith(f'layer{stage}') and name.endswith('conv1'))  # fmt: skip

    return markdown(
        ['τ', 'inputs', 'streams (of 16, 32, 64)', 'stage 1 (of 16)', 'stage 2 (of 32)', 'stage 3 (of 64)'],
        [[f'{r["threshold"]:.2f}', r['inputs'], ' '.join(str(r['widths'][name]) for name in streams),
          *(inner(r['widths'], stage) for stage in (1, 2, 3))] for r in rows],
    )  # fmt: skip


def write_tables(results: dict) -> None:
    """Put the tables between their marks."""
    path = FOLDER / 'README.md'
    text = path.read_text()
    for name, table in tables(results).items():
        pattern = re.compile(rf'(<!-- {name} -->\n).*?(<!-- end of {name} -->)', re.DOTALL)
        text = pattern.sub(lambda match, table=table: f'{match[1]}{table}\n{match[2]}', text)
    write_atomically(path, text)


def main() -> None:
    """Run what is asked for; other parts of results.json stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', type=Path, help='folder with weights/ and cifar10/')
    parser.add_argument('--parts', nargs='*', choices=['similarity', 'pruning', 'budget', 'finetuning'],
                        default=['similarity', 'pruning', 'budget'])  # fmt: skip
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--out', type=Path, default=FOLDER / 'results.json')
    args = parser.parse_args()
    torch.set_num_threads(1)
    work = {'similarity': similarity, 'pruning': pruning, 'budget': budget,
            'finetuning': lambda study: finetuning(study, args.epochs)}  # fmt: skip
    for part in args.parts:
        rows = work[part](Study(args.data))
        results = json.loads(args.out.read_text()) if args.out.exists() else {}
        lines = [f'{json.dumps(key)}: [\n' + ',\n'.join(json.dumps(row) for row in value) + '\n]'
                 for key, value in {**results, part: rows}.items()]  # fmt: skip
        write_atomically(args.out, '{\n' + ',\n'.join(lines) + '\n}\n')
    if args.out.exists() and (FOLDER / 'README.md').exists():
        write_tables(json.loads(args.out.read_text()))


if __name__ == '__main__':
    main()
