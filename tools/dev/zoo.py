"""The zoo: every model of torchvision, and some of timm's, pruned from Python as a newcomer would.

    python tools/dev/zoo.py                      # what is missing in work_dirs/zoo, then the table
    python tools/dev/zoo.py --only 'resnet*' --again

Each model has random weights and statistics and runs in a process of its own. It is *cut* if its outputs equal those
of the dense network in which every reader sees zeros for what it lost (code that is not mmprune's), and one
training-mode forward pass still runs; *refused* if there was one line of ours instead; anything else is a fault.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import time
import traceback
import warnings
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT)]

import torch  # noqa: E402
from torch import nn  # noqa: E402

from mmprune.storage.files import write_atomically  # noqa: E402

#: timm's, one or two of a family.
TIMM = (
    'resnet50d',
    'resnext26ts',
    'seresnet18',
    'skresnet18',
    'regnetz_005',
    'res2net50_14w_8s',
    'resnest14d',
    'densenet121',
    'dla34',
    'vovnet39a',
    'hardcorenas_a',
    'ghostnet_100',
    'ghostnetv2_100',
    'mobilenetv3_small_050',
    'mobilenetv4_conv_small',
    'mnasnet_small',
    'efficientnet_lite0',
    'tf_efficientnetv2_b0',
    'rexnet_100',
    'repvgg_a0',
    'mobileone_s0',
    'fastvit_t8',
    'convnext_atto',
    'convnextv2_atto',
    'poolformer_s12',
    'edgenext_xx_small',
    'mobilevit_xxs',
    'vit_tiny_patch16_224',
    'deit_tiny_patch16_224',
    'swin_tiny_patch4_window7_224',
    'levit_128s',
    'xcit_nano_12_p16_224',
    'pvt_v2_b0',
    'mixer_s32_224',
    'resmlp_12_224',
    'inception_v4',
    'xception41',
    'hrnet_w18_small',
    'cspresnet50',
    'nfnet_l0',
)
#: Too large for a machine of two cores to be worth the minutes; a smaller one of each family is there.
LARGE = (
    '*_128gf',
    '*_32gf',
    '*_16gf',
    'vit_h_*',
    'vit_l_*',
    '*_64x4d',
    'efficientnet_b[4-7]',
    '*v2_[lm]',
    'convnext_[lb]*',
    'swin*_b',
    'swin3d_s',
    'quantized_*',
)
TOLERANCE = 1e-3


def names() -> list[str]:
    """Every model as ``library/name``."""
    import torchvision

    found = [
        f'torchvision/{name}'
        for name in torchvision.models.list_models()
        if not any(fnmatchcase(name, pattern) for pattern in LARGE)
    ]
    try:
        import timm
    except ImportError:
        print('timm is not installed: its models are left out')
        return found
    known = set(timm.list_models())
    return [*found, *(f'timm/{name}' for name in TIMM if name in known)]


def build(name: str) -> tuple[nn.Module, object]:
    """A model with random weights in eval mode, and an example input."""
    library, _, name = name.partition('/')
    torch.manual_seed(0)
    if library == 'timm':
        import timm

        model = timm.create_model(name)
        return model, torch.randn(2, *model.default_cfg['input_size'])
    import torchvision

    kind = torchvision.models.get_model_builder(name).__module__.split('.')[2]
    plain = {'weights': None} | ({'weights_backbone': None} if kind in ('detection', 'segmentation') else {})
    if name in ('googlenet', 'inception_v3'):
        plain['init_weights'] = False
    model = torchvision.models.get_model(name, **plain)
    if kind == 'detection':
        return model, ([torch.rand(3, 160, 192), torch.rand(3, 160, 160)],)
    if kind == 'optical_flow':
        return model, (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))
    if kind == 'video':
        size = 224 if name.startswith(('mvit', 'swin3d')) else 64
        return model, torch.randn(1, 3, 16, size, size)
    return model, torch.randn(2, 3, 299 if name == 'inception_v3' else 224, 299 if name == 'inception_v3' else 224)


def run(model: nn.Module, example: object) -> object:
    """Outputs in eval mode."""
    model.eval()
    torch.manual_seed(0)  # some sample in eval mode, too
    with torch.no_grad():
        return model(*example) if isinstance(example, tuple) else model(example)


def check(name: str, ratio: float) -> dict:
    """Prune one model, and compare."""
    import mmprune
    from mmprune.errors import ConfigError, GraphError
    from tests.networks import randomise
    from tests.oracles.masked_readers import difference, masked_readers, record_of

    model, example = build(name)
    randomise(model)
    try:
        run(model, example)
    except Exception as error:
        return {'status': 'skipped', 'reason': f'does not run here: {error!r:.160}'}
    dense, start = copy.deepcopy(model), time.perf_counter()
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=ratio))
    try:
        report = mmprune.prune(model, example, pruner=pruner, restorer=None)
    except (ConfigError, GraphError) as error:
        return {'status': 'refused', 'reason': str(error), 'seconds': round(time.perf_counter() - start, 1)}
    found = {
        'seconds': round(time.perf_counter() - start, 1),
        'flops_left': round(report.stages[-1].flops / max(1, report.stages[0].flops), 3),
        'params_left': round(report.stages[-1].params / report.stages[0].params, 3),
    }
    with masked_readers(dense, record_of(model)) as masked:
        error = difference(run(masked, example), run(model, example))
        if not error <= TOLERANCE:  # rounding is gone in double precision, mistakes are not
            twice = _double(example)
            error = difference(run(masked.double(), twice), run(copy.deepcopy(model).double(), twice))
    if not error <= TOLERANCE:
        return {'status': 'wrong', 'reason': f'outputs differ by {error:.1e}', **found}
    if problem := _train_step(dense, model, example):
        return {'status': 'wrong', 'reason': f'in training mode: {problem}', **found}
    return {'status': 'cut', 'reason': '', 'error': float(f'{error:.1e}'), **found}


def _double(example: object) -> object:
    if isinstance(example, (tuple, list)):
        return type(example)(map(_double, example))
    return example.double()


def _train_step(dense: nn.Module, pruned: nn.Module, example: object) -> str:
    """What a training-mode forward pass of the pruned network dies of, where the dense one's runs."""
    for model, mine in ((dense, False), (pruned, True)):
        try:
            model.train()(*example) if isinstance(example, tuple) else model.train()(example)
        except Exception as error:
            return f'{error!r:.200}' if mine else ''
    return ''


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', default='*', help='pattern of names, e.g. torchvision/resnet*')
    parser.add_argument('--again', action='store_true', help='run also what has a result')
    parser.add_argument('--ratio', type=float, default=0.5)
    parser.add_argument('--minutes', type=float, default=10, help='limit of one model')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/zoo'))
    parser.add_argument('--one', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter('ignore')
        try:
            result = check(args.one, args.ratio)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            result = {'status': 'crash', 'reason': f'{error!r:.200} at {Path(where.filename).name}:{where.lineno}'}
        print(json.dumps(result))
        return
    results = {}
    for name in (
        name for name in names() if fnmatchcase(name, args.only) or fnmatchcase(name.split('/')[1], args.only)
    ):
        path = args.work_dir / f'{name.replace("/", "_")}.json'
        if args.again or not path.is_file():
            command = [sys.executable, __file__, '--one', name, '--ratio', str(args.ratio)]
            try:
                lines = subprocess.run(command, capture_output=True, text=True, timeout=60 * args.minutes).stdout
                result = json.loads(lines.strip().splitlines()[-1])
            except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
                result = {'status': 'crash', 'reason': f'no result ({type(error).__name__})'}
            write_atomically(path, json.dumps({'model': name, **result}) + '\n')
            print(name, result['status'], result.get('flops_left', ''), result['reason'][:150], flush=True)
        results[name] = json.loads(path.read_text())
    counts = {
        status: sum(r['status'] == status for r in results.values())
        for status in ('cut', 'refused', 'skipped', 'wrong', 'crash')
    }
    print(', '.join(f'{count} {status}' for status, count in counts.items()))
    sys.exit(bool(counts['wrong'] + counts['crash']))


if __name__ == '__main__':
    main()
