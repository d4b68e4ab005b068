"""Look at a network: `analyze.py groups|complexity|latency|moments|sensitivity|expander CONFIG [CHECKPOINT]`."""

import argparse
import json
import os.path as osp
import sys

import torch
from mmengine.config import Config
from torch import nn

from mmprune.analysis import LOOKS, Context
from mmprune.engine.cli import add_common_arguments, clear_errors, load_model, model_config
from mmprune.graph.scope import Scope
from mmprune.images.loader import LOADERS
from mmprune.storage.files import write_atomically

#: What shows nothing true of untrained weights.
NEED_WEIGHTS = ('moments', 'sensitivity')


def parse_args() -> argparse.Namespace:
    """Arguments in the mm manner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=list(LOOKS))
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint, e.g. of the pruned network')
    parser.add_argument('--shape', nargs='+', type=int, help='input: H W, C H W or N C H W')
    parser.add_argument('--runs', type=int, default=30, help='latency: counted runs of each network')
    parser.add_argument('--threads', type=int, help='latency: threads that torch may use')
    parser.add_argument(
        '--images', choices=LOADERS, help='moments, sensitivity: measure on images of this loader of the config'
    )
    parser.add_argument('--num-images', type=int, default=1000, help='moments, sensitivity: how many images')
    parser.add_argument('--ratios', nargs='+', type=float, help='sensitivity: shares to remove')
    parser.add_argument('--samples', type=int, default=1000, help='expander: vertex sets per estimate')
    parser.add_argument('--plot', help='sensitivity, expander: also draw this PNG')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', help='also write the result to this JSON file')
    add_common_arguments(parser)
    return parser.parse_args()


def _load(cfg: Config, args: argparse.Namespace) -> tuple[nn.Module, torch.Tensor]:
    """The network with the checkpoint's weights, else with the config's own; sizes can be looked at without any."""
    dense = cfg.get('load_from')
    if args.checkpoint or not dense:
        return load_model(cfg, args.checkpoint, args.shape, args.device)
    try:
        return load_model(cfg, dense, args.shape, args.device, 'load_from')
    except FileNotFoundError as error:
        if args.what in NEED_WEIGHTS:
            raise
        print(f'{error}: looking at the initial weights', file=sys.stderr)
        return load_model(cfg, None, args.shape, args.device)


@clear_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    cfg = model_config(args)
    model, example = _load(cfg, args)
    scope = Scope.of(model, example, (cfg.get('pruning') or {}).get('target', 'backbone'))
    text, result = LOOKS[args.what](Context(cfg, args, scope))
    print(text)
    if args.out:
        write_atomically(osp.expanduser(args.out), json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
