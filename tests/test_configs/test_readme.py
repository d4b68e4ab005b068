"""The READMEs say what is so: tables, code and commands."""

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config

from mmprune.engine import prepare_config

ROOT = Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text()


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/results/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_current() -> None:
    result = subprocess.run(
        [sys.executable, 'tools/results/make_readme.py', '--check'], cwd=ROOT, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_published_cells_of_lbyl_have_the_published_arguments_and_figures() -> None:
    published = json.loads((ROOT / 'configs/lbyl/published.json').read_text())
    merging_is_off = 'lenet300_fashion_mnist/L2Norm/0.5/NeuronMerging'  # as the published figure shows
    checked = Counter()
    for cell in json.loads((ROOT / 'configs/lbyl/cells.json').read_text())['cells']:
        net, criterion, ratio, column = cell['cell'].split('/')
        method = {'LBYL': 'lbyl', 'NeuronMerging': 'neuron_merging'}.get(column)
        if method and 'restorer' in cell and cell['cell'] != merging_is_off:
            of_net = published[method].get(net, {})
            expected = of_net.get(criterion, {}).get(ratio) or of_net.get('default') or published[method]['default']
            assert cell['restorer'] == dict(type=column, **expected), cell['cell']
            checked['arguments'] += 1
        figures = published['accuracy'].get(net, {}).get(criterion, {}).get(ratio, {})
        if column in figures:
            assert cell['published'] == figures[column], cell['cell']
            checked['figures'] += 1
    assert min(checked['arguments'], checked['figures']) > 50


@pytest.mark.parametrize('path', sorted(ROOT.glob('configs/*/cells.json')), ids=lambda path: path.parent.name)
def test_every_cell_is_a_valid_config(path: Path) -> None:
    cells = tool('run_cells').load_cells(path)
    for name, cell in list(cells.items())[::17]:
        cfg = Config.fromfile(ROOT / cell['config'])
        cfg.merge_from_dict(dict(cell['options']))
        prepare_config(cfg)
        ratio = (cfg.pruning.pruner.get('allocator') or {}).get('ratio')
        assert ratio is None or ratio == float(name.split('/')[2])


@pytest.mark.parametrize('path', sorted(ROOT.glob('configs/*/results.json')), ids=lambda path: path.parent.name)
def test_published_cells_are_reproduced(path: Path) -> None:
    """Ours and the published figures agree to 0.05 points on the same weights and images."""
    for name, result in json.loads(path.read_text()).items():
        if 'published' in result and result['test_images'] == 10000:
            measured = result['stages'][-1]['metrics']['accuracy/top1']
            assert abs(measured - result['published']) <= 0.05, name


def test_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r'^```python\n(.*?)^```', README, re.DOTALL | re.MULTILINE)[0], {})
    assert (tmp_path / 'pruned.pth').stat().st_size < 40e6  # dense: 47 MB


def test_config_of_the_readme_is_valid(tmp_path: Path) -> None:
    text = re.findall(r'^ +```python\n(.*?)^ +```', README, re.DOTALL | re.MULTILINE)[0]
    base = ROOT / 'configs/_base_/default_pruning.py'
    path = tmp_path / 'my_retinanet_r30.py'
    path.write_text(re.sub('^   ', '', text, flags=re.MULTILINE).replace('_base_/default_pruning.py', str(base)))
    cfg = prepare_config(Config.fromfile(path))
    assert cfg.model.host == 'RetinaNet'


def test_files_named_in_the_readmes_exist() -> None:
    for path in (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('configs/*/README.md')):
        for target in re.findall(r'\]\(([^)#]+)\)', path.read_text()):
            assert target.startswith('http') or (path.parent / target).exists(), f'{path}: {target}'
        for target in re.findall(r'python (tools/\S+\.py|configs/\S+\.py)', path.read_text()):
            assert (ROOT / target).exists(), f'{path}: {target}'
        for module in re.findall(r'python\s+-m\s+(tools\.[\w.]+)', path.read_text()):
            assert (ROOT / f'{module.replace(".", "/")}.py').exists(), f'{path}: {module}'


def test_a_cell_with_seeds_is_one_run_per_seed() -> None:
    cells = tool('run_cells').load_cells(ROOT / 'configs/expanders/cells.json')
    runs = {name: cell for name, cell in cells.items() if '/XNet/equal-edges/' in name}
    assert [cell['options']['randomness.seed'] for cell in runs.values()] == [0, 1, 2]
    cfg = Config.fromfile(ROOT / cells['vgg-small_cifar10/XNet/equal-degree/trained/seed1']['config'])
    cfg.merge_from_dict(dict(cells['vgg-small_cifar10/XNet/equal-degree/trained/seed1']['options']))
    assert prepare_config(cfg).pruning.pruner == dict(type='ExpanderPruner', degree=3, graph=dict(type='XNet'))


def test_tables_show_the_mean_and_spread_of_seeds(tmp_path: Path) -> None:
    tables = tool('tables')
    content = json.loads((ROOT / 'configs/expanders/cells.json').read_text())
    (tmp_path / 'cells.json').write_text(json.dumps(content))

    def run(value: float, nonzero: int) -> dict:
        stages = [dict(metrics={'accuracy/top1': value}, nonzero_params=count) for count in (1000, nonzero)]
        return dict(stages=stages, test_images=1017, input_shape=[1, 3, 32, 32], versions='mmprune=0 torch=2')

    name = 'vgg-small_cifar10/{}/trained/seed{}'
    results = {
        name.format('Random/equal-degree', seed): run(value, count)
        for seed, value, count in ((0, 50.0, 90), (1, 52.0, 100), (2, 54.0, 110))
    }
    results[name.format('XNet/equal-edges', 0)] = run(60.0, 100)
    (tmp_path / 'results.json').write_text(json.dumps(results))
    text = tables.render(tables.Results(tmp_path), 'vgg-small_cifar10')
    assert '| Random | equal-degree | 52.00 ± 2.00 | 100 (10.0 %) |' in text
    assert '| XNet | equal-edges | 60.00 (1 of 3 seeds) | 100 (10.0 %) |' in text
    assert '| RandomRegular | equal-edges | not run |' in text and 'Dense:' not in text
