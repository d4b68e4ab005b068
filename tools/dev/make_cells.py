"""Write configs/*/cells.json of the folders below: every cell of the tables, for run_cells.py to run."""

from __future__ import annotations

import json
from pathlib import Path

from mmprune.storage.files import write_atomically

CONFIGS = Path(__file__).parents[2] / 'configs'
RANDOM = ('random_1', 'random_2', 'random_3')
TOP1 = dict(metric='accuracy/top1', unit='top-1 accuracy in %')
LOSSLESS = 'data/cifar10/cifar10_{}.npz'

#: Networks of LBYL's tables: what stands above each, its config, and what has to be there before it runs.
NETS = {
    'lenet300_fashion_mnist': dict(
        title='LeNet-300-100, Fashion-MNIST',
        config='lenet300-100_lbyl-l2-r50_fmnist.py',
        images=10000,
        needs=['data/weights/lenet300_100_fashion_mnist.pth', 'data/fashion_mnist'],
    ),
    'resnet56_cifar10': dict(
        title='ResNet-56, CIFAR-10',
        config='resnet56_lbyl-l2-r30_cifar10.py',
        images=1017,
        needs=['data/weights/resnet56_nm_cifar10.pth', LOSSLESS.format('test_lossless_1017')],
    ),
    'vgg16_cifar10': dict(
        title='VGG-16, CIFAR-10',
        config='vgg16_lbyl-l2-r30_cifar10.py',
        images=10000,
        needs=['data/weights/vgg16_lbyl_cifar10.pth', 'data/cifar10/cifar-10-batches-py'],
    ),
    'resnet50_cifar100': dict(
        title='ResNet-50 (Bottleneck), CIFAR-100',
        config='resnet50_lbyl-l2-r30_cifar100.py',
        images=10000,
        needs=['data/weights/resnet50_lbyl_cifar100.pth', 'data/cifar100/cifar-100-python'],
    ),
    'resnet34_imagenet': dict(
        title='ResNet-34, ImageNet', config='resnet34_lbyl-l2-r30_in1k.py', images=50000, needs=['data/imagenet']
    ),
    'resnet101_imagenet': dict(
        title='ResNet-101, ImageNet', config='resnet101_lbyl-l2-r30_in1k.py', images=50000, needs=['data/imagenet']
    ),
    'mobilenetv2_imagenet': dict(
        title='MobileNetV2, ImageNet', config='mobilenetv2_lbyl-l2-r10_in1k.py', images=50000, needs=['data/imagenet']
    ),
}
#: From the README of Neuron Merging: LeNet-300-100 with the L1 norm.
NM_L1 = {'0.5': (88.69, 88.40), '0.6': (86.92, 85.17), '0.7': (82.75, 71.26), '0.8': (80.02, 66.76)}
#: This published Neuron Merging cell is equal to plain pruning: the program gives it with merging switched off.
NM_OFF = 'lenet300_fashion_mnist/L2Norm/0.5/NeuronMerging'


#: Networks that were trained here, by configs of this repository, and the real images for batch norms.
TRAINED_HERE = {
    **{
        f'{name}_cifar10_jpeg': (
            {
                **TOP1,
                'title': f'{title}, JPEG copy of CIFAR-10',
                'images': 2000,
                'config': f'configs/cifar10_jpeg/{name}_cifar10-jpeg_pruned.py',
                'needs': ['data/cifar10_jpeg', f'work_dirs/{name}_cifar10-jpeg/epoch_{epochs}.pth'],
            },
            {'pruning.images': 'train_dataloader', 'pruning.num_images': 1000},
        )
        for name, epochs, title in (
            ('vgg16', 6, 'VGG-16-BN of a quarter width'),
            ('densenet', 3, 'DenseNet-16, growth 8'),
            ('mobilenetv2', 3, 'MobileNetV2 of half width'),
        )
    },
    'retinanet_bccd': (
        {
            'metric': 'pascal_voc/mAP',
            'unit': 'mAP at IoU .5',
            'digits': 3,
            'title': 'RetinaNet, ResNet-18 of half width, BCCD',
            'images': 72,
            'config': 'configs/bccd/retinanet_r18_fpn_bccd_pruned.py',
            'needs': ['data/detection/bccd', 'work_dirs/retinanet_r18_fpn_bccd/epoch_30.pth'],
        },
        {'pruning.images': 'train_dataloader', 'pruning.num_images': 205},
    ),
}


def rows_of(net: str, accuracy: dict) -> dict[tuple[str, str], dict[str, float]]:
    """Published figures by (criterion, ratio); empty where there are none but the cell can be run."""
    rows = {(name, ratio): found for name, ratios in accuracy.get(net, {}).items() for ratio, found in ratios.items()}
    if net == 'lenet300_fashion_mnist':
        rows |= {('L1Norm', ratio): dict(NeuronMerging=nm, cut=cut) for ratio, (nm, cut) in NM_L1.items()}
        rows |= {('GeometricMedian', ratio): {} for ratio in NM_L1}
    if net == 'resnet56_cifar10':
        rows = {('L2Norm', ratio): {} for ratio in ('0.2', '0.3', '0.4', '0.5')}
        rows |= {(name, ratio): {} for name in ('GeometricMedian', 'L1Norm') for ratio in ('0.3', '0.5')}
    return rows


def lbyl() -> dict[str, object]:
    """The tables of LBYL and Neuron Merging, and beside them what our variants give."""
    published = json.loads((CONFIGS / 'lbyl/published.json').read_text())
    cells = []

    def arguments(method: str, net: str, name: str, ratio: str) -> dict[str, float]:
        of_net = published[method].get(net, {})
        return of_net.get(name, {}).get(ratio) or of_net.get('default') or published[method]['default']

    def add(net: str, name: str, ratio: str, column: str, value: float | None, restorer: dict | None = None) -> None:
        cell = dict(cell=f'{net}/{name}/{ratio}/{column}')
        cells.append(
            cell
            | ({} if restorer is None else {'restorer': restorer})
            | ({} if value is None else {'published': value})
        )

    for net in NETS:
        for (row, ratio), figures in rows_of(net, published['accuracy']).items():
            for name in RANDOM if row == 'Random' else (row,):
                found = {} if row == 'Random' else figures
                values = arguments('lbyl', net, name, ratio)
                merging = arguments('neuron_merging', net, name, ratio)
                if f'{net}/{name}/{ratio}/NeuronMerging' == NM_OFF:
                    merging = dict(threshold=1)
                add(
                    net,
                    name,
                    ratio,
                    'NeuronMerging',
                    found.get('NeuronMerging'),
                    dict(type='NeuronMerging', **merging),
                )
                add(net, name, ratio, 'LBYL', found.get('LBYL'), dict(type='LBYL', **values))
                if (net, name) == ('resnet56_cifar10', 'L2Norm'):
                    add(net, name, ratio, 'LBYL-exact', None, dict(type='LBYL', mode='exact', **values))
                if (net, name) == ('resnet56_cifar10', 'L2Norm') or net == 'lenet300_fashion_mnist':
                    add(
                        net,
                        name,
                        ratio,
                        'LBYL-auto',
                        None,
                        dict(type='LBYL', mode='exact', lambda1='auto', lambda2='auto'),
                    )
            for column in figures if row == 'Random' else figures.keys() & {'cut'}:
                add(net, row, ratio, column, figures[column])
    tables = {
        net: {
            **TOP1,
            **spec,
            'config': f'configs/lbyl/{spec["config"]}',
            'dense': published['dense_accuracy'].get(net),
        }
        for net, spec in NETS.items()
    }
    columns = {
        'cut': 'cut only',
        'NeuronMerging': 'Neuron Merging',
        'LBYL': 'LBYL',
        'LBYL-exact': 'LBYL exact',
        'LBYL-auto': 'LBYL, λ chosen without data',
    }
    return dict(columns=columns, tables=tables, cells=cells)


def moment_restoration() -> dict[str, object]:
    """What each repair leaves of the CIFAR ResNets, ratio by ratio."""
    images = {'pruning.images': 'train_dataloader', 'pruning.num_images': 1000}
    repairs = {
        'NeuronMerging': dict(restorer=dict(type='NeuronMerging', threshold=0.1, lam=0.85)),
        'LBYL': dict(restorer=dict(type='LBYL', lambda1=1e-5, lambda2=0.002)),
        'MomentRestoration': dict(restorer=dict(type='MomentRestoration')),
        'BNRecalibration': dict(restorer=dict(type='BNRecalibration'), options=images),
    }
    tables, cells = {}, []
    for net, weights in (('ResNet-56', 'resnet56_nm_cifar10.pth'), ('ResNet-20', 'resnet20_cifar10.pth')):
        name = net.replace('-', '').lower()
        tables[f'{name}_cifar10'] = {
            **TOP1,
            'title': f'{net}, CIFAR-10',
            'images': 1017,
            'config': f'configs/moment_restoration/{name}_moment-l2-r50_cifar10.py',
            'needs': [
                f'data/weights/{weights}',
                LOSSLESS.format('test_lossless_1017'),
                LOSSLESS.format('train_lossless_8068'),
            ],
        }
        for criterion in ('L2Norm', 'MomentOBS'):
            for ratio in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
                for column, cell in repairs.items():
                    shared = name == 'resnet56' and column in ('NeuronMerging', 'LBYL')  # the same run as LBYL's table
                    if criterion == 'L2Norm' or column == 'MomentRestoration':
                        cells.append(
                            dict(cell=f'{name}_cifar10/{criterion}/{ratio}/{column}', **cell)
                            | (dict(config=f'configs/lbyl/{NETS["resnet56_cifar10"]["config"]}') if shared else {})
                        )
    auto = dict(restorer=dict(type='LBYL', mode='exact', lambda1='auto', lambda2='auto'))
    for net, (spec, options) in TRAINED_HERE.items():
        tables[net] = spec
        for ratio in (0.3, 0.5, 0.7):
            for column, cell in {**repairs, 'LBYL-auto': auto}.items():
                if column != 'LBYL':  # there are no published λ for these networks
                    extra = dict(options=options) if column == 'BNRecalibration' else {}
                    cells.append(dict(cell=f'{net}/L2Norm/{ratio}/{column}', **{**cell, **extra}))
    tables['resnet56_streams'] = {
        **tables['resnet56_cifar10'],
        'title': 'ResNet-56, CIFAR-10, residual streams',
        'rows': 'criterion and channels',
    }
    cut = {'type': 'ChannelPruner', 'allocator.type': 'Uniform', 'allocator.ratio': 0.3}
    noise = {'criterion.type': 'MomentOBS', 'criterion.moments': 'noise'}
    for row, pruner in {
        'L2Norm, stream of the second stage': {**cut, 'criterion.type': 'L2Norm', 'keep': ['*.conv1']},
        'MomentOBS on noise, stream of the second stage': {**cut, **noise, 'keep': ['*.conv1']},
        'L2Norm, all channels': {**cut, 'criterion.type': 'L2Norm'},
        'MomentOBS on noise, all channels': {**cut, **noise},
    }.items():
        for column in ('MomentRestoration', 'BNRecalibration'):
            cells.append(dict(cell=f'resnet56_streams/{row}/0.3/{column}', pruner=pruner, **repairs[column]))
    columns = {
        'cut': 'cut only',
        'NeuronMerging': 'Neuron Merging',
        'LBYL': 'LBYL',
        'LBYL-auto': 'LBYL, λ chosen without data',
        'MomentRestoration': 'MomentRestoration',
        'BNRecalibration': 'BN re-estimation, real images',
    }
    return dict(columns=columns, tables=tables, cells=cells)


def expanders() -> dict[str, object]:
    """Graph models on the small VGG, at equal edges and at equal degree."""
    name, seeds, degree = 'vgg-small_cifar10', [0, 1, 2], {'type': 'ExpanderPruner', 'degree': 3}
    table = {
        **TOP1,
        'title': 'Small VGG, 8,068 CIFAR-10 images, 8 epochs',
        'images': 1017,
        'config': 'configs/expanders/vgg-small_rreg-d3_cifar10.py',
        'rows': 'graph',
        'ratios': 'comparison',
        'sizes': ['nonzero_params'],
        'trained': False,  # the first stage is the untrained network
        'needs': [LOSSLESS.format('test_lossless_1017'), LOSSLESS.format('train_lossless_8068')],
    }
    larger = {**degree, 'degree_side': 'max'}
    rows = {
        'RandomRegular/equal-edges': {**larger, 'graph.type': 'RandomRegular'},
        'XNet/equal-edges': {**larger, 'graph.type': 'XNet'},
        'Random/equal-edges': {**larger, 'graph.type': 'Random', 'graph.exact': True},
        'XNet/equal-degree': {**degree, 'graph.type': 'XNet'},
        'Random/equal-degree': {**degree, 'graph.type': 'Random'},
        'dense/all-edges': {'type': 'ExpanderPruner', 'graph.type': 'Random', 'density': 1.0},
    }
    cells = [dict(cell=f'{name}/{row}/trained', pruner=pruner, seeds=seeds) for row, pruner in rows.items()]
    return dict(columns={'trained': 'last epoch, mean ± std of three seeds'}, tables={name: table}, cells=cells)


def comparison() -> dict[str, object]:
    """All methods on one network at equal FLOPs, and every criterion with every repair."""
    own = 'configs/comparison/resnet56_l2-r50_cifar10.py'
    table = {
        **TOP1,
        'title': 'ResNet-56, CIFAR-10',
        'images': 1017,
        'config': own,
        'needs': [
            'data/weights/resnet56_nm_cifar10.pth',
            LOSSLESS.format('test_lossless_1017'),
            LOSSLESS.format('train_lossless_8068'),
        ],
    }
    l2, obs = dict(criterion='L2Norm'), dict(criterion='MomentOBS')
    merging = dict(type='NeuronMerging', threshold=0.1, lam=0.85)
    lbyl = dict(type='LBYL', mode='exact', lambda1='auto', lambda2='auto')
    moment, recalibration = dict(type='MomentRestoration'), dict(type='BNRecalibration')
    images = {'pruning.images': 'train_dataloader', 'pruning.num_images': 1000}
    curves = {'num_images': 128, 'points': 32}
    #: Row, what it is called, what is cut, and what follows.
    methods = [
        ('NeuronMerging', 'L2 norm, Neuron Merging', l2, dict(restorer=merging)),
        ('LBYL', 'L2 norm, LBYL, λ chosen without data', l2, dict(restorer=lbyl)),
        ('MomentRestoration', 'L2 norm, MomentRestoration', l2, dict(restorer=moment)),
        ('MomentOBS', 'MomentOBS, MomentRestoration', obs, dict(restorer=moment)),
        ('RateDistortion', 'L2 norm, RateDistortion on noise, MomentRestoration', 'distortion', dict(restorer=moment)),
        ('RateDistortion-params', 'the same at equal parameters', 'distortion', dict(restorer=moment)),
        ('RedundancyGraph', 'RedundancyGraph on noise, MomentRestoration', 'graph', dict(restorer=moment)),
        ('RedundancyGraph-params', 'the same at equal parameters', 'graph', dict(restorer=moment)),
        (
            'BNRecalibration',
            'for comparison: L2 norm, BN re-estimation on 1,000 real images',
            l2,
            dict(restorer=recalibration, options=images),
        ),
    ]
    borrowed = {
        'methods/DFBF/0.5/final': ('L2 norm, DFBF: trained on synthetic images', 'DFBF'),
        'methods/DFBF-Moment/0.5/final': ('L2 norm, MomentRestoration, then DFBF', 'DFBF-Moment'),
    }
    cells = []
    for ratio, shares in EQUAL.items():
        for row, _, cut, cell in methods:
            key = 'params' if row.endswith('-params') else 'flops'
            if cut == 'graph':
                parts = {
                    'criterion.type': 'RedundancyGraph',
                    'criterion.inputs': 'noise',
                    f'criterion.target.{key}': shares[key],
                }
            elif cut == 'distortion':
                parts = {
                    'criterion': 'L2Norm',
                    'allocator.type': 'RateDistortion',
                    f'allocator.target.{key}': shares[key],
                    'allocator.curves': curves,
                }
            else:
                parts = {**cut, 'allocator.type': 'Uniform', 'allocator.ratio': ratio}
            pruner = {'type': 'ChannelPruner', **parts, 'keep': ['conv1', '*.conv2', '*.downsample*']}
            cells.append(dict(cell=f'methods/{row}/{ratio}/final', pruner=pruner, **cell))
    for criterion in ('L1Norm', 'L2Norm', 'GeometricMedian', 'BNScale', 'MomentOBS', 'Random'):
        for column, restorer in (
            ('none', None),
            ('NeuronMerging', merging),
            ('LBYL', lbyl),
            ('MomentRestoration', moment),
        ):
            name, repair = f'ablation/{criterion}/0.5', {} if restorer is None else dict(restorer=restorer)
            cells.append(dict(cell=f'{name}/{column}', options={'pruning.finetune': False}, **repair))
            cells.append(dict(cell=f'{name}/{column}-tuned', options=TUNED, **repair))
    tables = {
        'methods': {
            **table,
            'rows': 'method',
            'shown': ['cut', 'final'],
            'labels': {row: label for row, label, _, _ in methods}
            | {name.split('/')[1]: label for name, (label, _) in borrowed.items()},
            'borrowed': {name: f'dfbf/resnet56_cifar10/L2Norm/0.5/{column}' for name, (_, column) in borrowed.items()},
        },
        'ablation': {**table, 'shown': [name for name in ABLATION if not name.endswith('-tuned')]},
        'ablation-tuned': {**table, 'cells': 'ablation', 'shown': [n for n in ABLATION if n.endswith('-tuned')]},
    }
    columns = {'cut': 'right after the cut', 'final': 'in the end', **ABLATION}
    return dict(columns=columns, tables=tables, cells=cells)


#: What an even cut of ResNet-56's inner convs leaves, by its ratio; the other allocators get it as their target.
EQUAL = {0.3: dict(flops=0.691, params=0.690), 0.5: dict(flops=0.505, params=0.503)}
#: The ablation's training: an epoch on a few labelled images, batches of 128.
TUNED = {
    'pruning.finetune': True,
    'train_dataloader.dataset.indices': 2000,
    'train_dataloader.num_workers': 0,
    'param_scheduler.total_steps': 16,
}
#: Columns of the ablation: what repairs, and whether this training follows.
ABLATION = {
    f'{name}{suffix}': f'{title}{tuned}'
    for suffix, tuned in (('', ''), ('-tuned', ', then 1 epoch'))
    for name, title in (
        ('none', 'no repair'),
        ('NeuronMerging', 'Neuron Merging'),
        ('LBYL', 'LBYL, λ chosen without data'),
        ('MomentRestoration', 'MomentRestoration'),
    )
}


def main() -> None:
    """Write all files, one line per cell, so that changes can be read."""
    for folder, content in (
        ('lbyl', lbyl()),
        ('moment_restoration', moment_restoration()),
        ('expanders', expanders()),
        ('comparison', comparison()),
    ):
        lines = ',\n'.join('  ' + json.dumps(cell) for cell in content.pop('cells'))
        head = json.dumps(content, indent=1, ensure_ascii=False)[:-2]
        path = write_atomically(CONFIGS / folder / 'cells.json', f'{head},\n "cells": [\n{lines}\n ]\n}}\n')
        print(f'{path}: {lines.count(chr(10)) + 1} cells')


if __name__ == '__main__':
    main()
