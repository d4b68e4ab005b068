"""The zoo: every model of torchvision, and some of timm's, pruned from Python as a newcomer would.

    python -m tools.dev.zoo                      # what is missing in work_dirs/zoo, then the counts
    python -m tools.dev.zoo --only '*/resnet*' --again

Each model has random weights and statistics; half of its channels go. It works if its outputs equal those of the dense
network in which every reader sees zeros for what it lost (code that is not mmprune's), and if a training-mode forward
pass still runs; it is refused if there was one line of ours instead.
"""

from __future__ import annotations

import copy
import sys
from fnmatch import fnmatchcase
from functools import partial

import torch
import torchvision
from torch import nn

import mmprune
from mmprune.errors import ConfigError, GraphError
from tests.networks import randomise
from tests.oracles.masked_readers import difference, masked_readers, record_of
from tools.dev import fresh

#: timm's, one or two of a family.
TIMM = fresh.words("""
    resnet50d resnext26ts seresnet18 skresnet18 regnetz_005 res2net50_14w_8s resnest14d densenet121 dla34 vovnet39a
    hardcorenas_a ghostnet_100 ghostnetv2_100 mobilenetv3_small_050 mobilenetv4_conv_small mnasnet_small
    efficientnet_lite0 tf_efficientnetv2_b0 rexnet_100 repvgg_a0 mobileone_s0 fastvit_t8 convnext_atto convnextv2_atto
    poolformer_s12 edgenext_xx_small mobilevit_xxs vit_tiny_patch16_224 deit_tiny_patch16_224
    swin_tiny_patch4_window7_224 levit_128s xcit_nano_12_p16_224 pvt_v2_b0 mixer_s32_224 resmlp_12_224 inception_v4
    xception41 hrnet_w18_small cspresnet50 nfnet_l0
""")
#: Too large for a machine of two cores to be worth the minutes; a smaller one of each family is there.
LARGE = fresh.words("""
    *_128gf *_32gf *_16gf vit_h_* vit_l_* *_64x4d efficientnet_b[4-7] *v2_[lm] convnext_[lb]* swin*_b swin3d_s
    quantized_*
""")
TOLERANCE = 1e-3


def names() -> list[str]:
    """Every model as ``library/name``."""
    small = (name for name in torchvision.models.list_models() if not any(fnmatchcase(name, p) for p in LARGE))
    found = [f'torchvision/{name}' for name in small]
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
    size = 299 if name == 'inception_v3' else 224
    return model, torch.randn(2, 3, size, size)


def run(model: nn.Module, example: object, training: bool = False) -> object:
    """Outputs."""
    model.train(training)
    torch.manual_seed(0)  # some sample in eval mode, too
    with torch.set_grad_enabled(training):
        return model(*example) if isinstance(example, tuple) else model(example)


def check(name: str) -> dict:
    """Prune one model, and compare."""
    with fresh.refusing('does not run here'):
        model, example = build(name)
        run(randomise(model), example)
    dense = copy.deepcopy(model)
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5))
    try:
        report = mmprune.prune(model, example, pruner=pruner, restorer=None)
    except (ConfigError, GraphError) as error:
        raise fresh.Refused(str(error)) from error
    with masked_readers(dense, record_of(model)) as masked:
        error = difference(run(masked, example), run(model, example))
        if not error <= TOLERANCE:  # rounding is gone in double precision, mistakes are not
            twice = _double(example)
            error = difference(run(masked.double(), twice), run(copy.deepcopy(model).double(), twice))
    if not error <= TOLERANCE:
        raise fresh.Wrong(f'outputs differ by {error:.1e}')
    try:
        run(dense, example, training=True)
    except Exception:
        trains = False  # targets are missing, or the batch is too small
    else:
        trains = True
        run(model, example, training=True)
    first, *_, last = report.stages
    left = {f'{key}_left': round(getattr(last, key) / max(1, getattr(first, key)), 3) for key in ('flops', 'params')}
    return {'error': float(f'{error:.1e}'), 'trains': trains, **left}


def _double(example: object) -> object:
    return type(example)(map(_double, example)) if isinstance(example, (tuple, list)) else example.double()


def main() -> None:
    """Run what is missing; the exit status is 1 if anything is wrong."""
    args = fresh.parser_of(__doc__, 'zoo').parse_args()
    results = fresh.run({name: partial(check, name) for name in names()}, args)
    sys.exit(any(result['status'] == 'wrong' for result in results.values()))


if __name__ == '__main__':
    main()
