"""Agreement of similarities of filters found without images with those of 100 real images, on ResNet-56.

python tools/results/similarity.py          # configs/redundancy_graph/similarity.json; make_readme.py its table
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from mmprune.criteria import RedundancyGraph
from mmprune.engine.cli import load_model
from mmprune.engine.config import make_loadable_config
from mmprune.graph.find import find_groups
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.images import as_source
from mmprune.images.loader import LoaderImages
from mmprune.storage.files import write_atomically

FOLDER = Path(__file__).parents[2] / 'configs/redundancy_graph'
#: What stands for the images: arguments of the criterion, and which hundred real images, if any.
CASES: dict[str, tuple[dict, int | None]] = {
    'other 100 real images': (dict(inputs='real'), 1),
    'real, batch statistics': (dict(inputs='real', batch_statistics=True), 0),
    'noise, running statistics': (dict(inputs='noise', batch_statistics=False), None),
    'noise': (dict(inputs='noise'), None),
    'pink, gray 0.7': (dict(inputs=dict(type='PinkNoise', gray=0.7)), None),
    'weights': (dict(inputs='weights'), None),
}


def rows() -> list[dict]:
    """Correlation and RMSE over all pairs of filters, per layer, against real images."""
    cfg = make_loadable_config(Config.fromfile(FOLDER / 'resnet56-nm_rg-t70_cifar10-8k.py'))
    model, example = load_model(cfg, cfg.load_from, key='load_from')
    scope = Scope.of(model, example, '')
    groups = [group for group in find_groups(model, scope.forward, example, scope.targets) if group.prunable]
    hundreds = torch.cat(list(LoaderImages(cfg, model, 'train_dataloader', 200))).split(100)

    def measure(options: dict, which: int | None, dc: bool) -> list[np.ndarray]:
        criterion = RedundancyGraph(**options, dc=dc)
        images = criterion.images_for(example, None if which is None else as_source([hundreds[which]]))
        with tracing_mode(model):
            criterion.prepare(groups, scope.forward, images)
        return [criterion.similarity(group.name)[np.triu_indices(group.width, 1)] for group in groups]

    found = []
    for dc in (True, False):
        known = {name: measure(*case, dc) for name, case in CASES.items()}
        known['real'] = measure(dict(inputs='real'), 0, dc)
        for name, against in [*((name, 'real') for name in CASES), ('weights', 'noise, running statistics')]:
            pairs = list(zip(known[name], known[against]))
            correlation = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
            rmse = [np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs]
            row = dict(dc=dc, inputs=name, against=against, correlation=_spread(correlation), rmse=_spread(rmse))
            print(row, flush=True)
            found.append(row)
    return found


def _spread(values: list[float]) -> dict[str, float]:
    spread = dict(mean=np.mean(values), min=min(values), max=max(values), first_layer=values[0])
    return {key: round(float(value), 3) for key, value in spread.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = ',\n'.join(json.dumps(row) for row in rows())
    write_atomically(FOLDER / 'similarity.json', f'[\n{lines}\n]\n')


if __name__ == '__main__':
    main()
