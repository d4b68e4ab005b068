"""The READMEs say what is so: tables, code and commands."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config

from mmprune.engine import prepare_config

ROOT = Path(__file__).parents[2]
README = (ROOT / 'README.md').read_text()


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tools/dev/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_current() -> None:
    result = subprocess.run(
        [sys.executable, 'tools/dev/make_readme.py', '--check'], cwd=ROOT, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_cells_are_current() -> None:
    make_cells = tool('make_cells')
    for folder, content in (('lbyl', make_cells.lbyl()), ('moment_restoration', make_cells.moment_restoration())):
        assert json.loads((ROOT / f'configs/{folder}/cells.json').read_text()) == json.loads(json.dumps(content))


@pytest.mark.parametrize('path', sorted(ROOT.glob('configs/*/cells.json')), ids=lambda path: path.parent.name)
def test_every_cell_is_a_valid_config(path: Path) -> None:
    cells = tool('run_cells').load_cells(path)
    for name, cell in list(cells.items())[::17]:
        cfg = Config.fromfile(ROOT / cell['config'])
        cfg.merge_from_dict(dict(cell['options']))
        prepare_config(cfg)
        ratio = cfg.pruning.pruner.allocator.get('ratio')
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
