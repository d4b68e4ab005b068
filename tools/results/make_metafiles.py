"""Write configs/*/metafile.yml and model-index.yml, OpenMMLab's index of models, from results.json.

A config's figures are those of the cells that run it as it is: their options change nothing in it. Configs without
such a cell are listed without results.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import re
from pathlib import Path
from statistics import mean

import yaml
from make_readme import write
from mmengine.config import Config
from run_cells import load_cells

ROOT = Path(__file__).parents[2]

PAPERS = {
    'dfbf': dict(Title='Data-Free Backbone Fine-Tuning for Pruned Neural Networks'),
    'expanders': dict(Title='Data-Free Model Pruning at Initialization via Expanders'),
    'lbyl': dict(URL='https://arxiv.org/abs/2502.08474'),
    'rd_prune': dict(Title='Efficient Joint Optimization of Layer-Adaptive Weight Pruning in Deep Neural Networks'),
    'redundancy_graph': dict(
        Title='Efficient filter pruning: Reducing model complexity through redundancy graph decomposition'
    ),
}
METRICS = {
    'accuracy/top1': ('Image Classification', 'Top 1 Accuracy'),
    'coco/bbox_mAP': ('Object Detection', 'box AP'),
    'pascal_voc/mAP': ('Object Detection', 'mAP'),
}
HEAD = '# Written by tools/results/make_metafiles.py from results.json\n'


def metafile(folder: Path) -> dict:
    """The collection of one folder and its models."""
    title = re.search(r'^# (.+)$', (folder / 'README.md').read_text(), re.MULTILINE)[1]
    collection = dict(Name=title, README=str((folder / 'README.md').relative_to(ROOT)))
    if folder.name in PAPERS:
        collection['Paper'] = PAPERS[folder.name]
    found = measured(folder)
    models = []
    for path in sorted(folder.glob('*.py')):
        config = str(path.relative_to(ROOT))
        models.append({'Name': path.stem, 'In Collection': title, 'Config': config, **found.get(config, {})})
    return dict(Collections=[collection], Models=models)


def measured(folder: Path) -> dict[str, dict]:
    """Size and results by config, of those that were run as they are."""
    cells, results = folder / 'cells.json', folder / 'results.json'
    if not cells.exists() or not results.exists():
        return {}
    tables, every = json.loads(cells.read_text())['tables'], load_cells(cells)
    read, runs = functools.cache(lambda config: Config.fromfile(ROOT / config)), {}
    for name, run in json.loads(results.read_text()).items():
        config, table = every[name]['config'], name.split('/')[0]
        if not changes(read(config), every[name]['options']):
            runs.setdefault(config, {}).setdefault(table, []).append(run)
    firsts = {config: next(iter(found.items())) for config, found in runs.items()}
    return {config: entry(found, tables[table]) for config, (table, found) in firsts.items()}


def changes(config: Config, options: dict[str, object]) -> bool:
    """True if options change what a config says (the seed does not count: several are averaged)."""
    options = {key: value for key, value in options.items() if key != 'randomness.seed'}
    for key, value in options.items():  # most cells show it at once
        now = config.to_dict()
        for name in key.split('.'):
            now = now.get(name) if isinstance(now, dict) else None
        if isinstance(now, (int, float)) and now != value:
            return True
    changed = copy.deepcopy(config)
    changed.merge_from_dict(options)
    return _plain(changed.to_dict()) != _plain(config.to_dict())


def _plain(value: object) -> object:
    """A part that is only its type as its name."""
    if isinstance(value, dict):
        value = {key: _plain(item) for key, item in value.items() if key != '_delete_'}
        return value['type'] if set(value) == {'type'} else value
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def entry(runs: list[dict], table: dict) -> dict:
    """``Metadata`` and ``Results`` of runs of one config, averaged."""
    last = [run['stages'][-1] for run in runs]
    task, metric = METRICS[table['metric']]
    dataset = f'{table["title"].rpartition(", ")[2]} ({table["images"]:,} test images)'
    value = round(mean(stage['metrics'][table['metric']] for stage in last), 2)
    sizes = {'Parameters': 'params', 'FLOPs': 'flops'}
    return {
        'Metadata': {title: round(mean(stage[key] for stage in last)) for title, key in sizes.items()},
        'Results': [{'Task': task, 'Dataset': dataset, 'Metrics': {metric: value}}],
    }


def files() -> dict[Path, str]:
    """Every file and what it should hold."""
    folders = sorted(path.parent for path in ROOT.glob('configs/*/README.md'))
    texts = {folder / 'metafile.yml': metafile(folder) for folder in folders}
    index = dict(Import=[str(path.relative_to(ROOT)) for path in texts])
    return {
        path: HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=119)
        for path, content in {**texts, ROOT / 'model-index.yml': index}.items()
    }


def main() -> None:
    """Write the metafiles, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='change nothing; exit 1 if a file is not current')
    write(files(), parser.parse_args().check, 'tools/results/make_metafiles.py')


if __name__ == '__main__':
    main()
