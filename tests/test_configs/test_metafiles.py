"""The index of models: current, complete, and where `mim` looks for it in an installed package."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def index(root: Path = ROOT) -> list[dict]:
    """Contents of every file that the index imports."""
    return [
        yaml.safe_load((root / path).read_text())
        for path in yaml.safe_load((root / 'model-index.yml').read_text())['Import']
    ]


def test_metafiles_are_current() -> None:
    result = subprocess.run(
        [sys.executable, 'tools/results/make_metafiles.py', '--check'], cwd=ROOT, text=True, capture_output=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_leaf_config_beside_a_readme_is_listed_once() -> None:
    models = [model for content in index() for model in content['Models']]
    assert max(Counter(model['Name'] for model in models).values()) == 1
    configs = {
        str(path.relative_to(ROOT))
        for readme in ROOT.glob('configs/*/README.md')
        for path in readme.parent.glob('*.py')
    }
    assert {model['Config'] for model in models} == configs
    for content in index():
        names = {collection['Name'] for collection in content['Collections']}
        assert all((ROOT / collection['README']).exists() for collection in content['Collections'])
        assert {model['In Collection'] for model in content['Models']} <= names


def test_figures_are_those_of_the_runs() -> None:
    results = json.loads((ROOT / 'configs/moment_restoration/results.json').read_text())
    last = results['resnet56_cifar10/L2Norm/0.5/MomentRestoration']['stages'][-1]
    model = next(
        model
        for content in index()
        for model in content['Models']
        if model['Name'] == 'resnet56_moment-l2-r50_cifar10-8k'
    )
    assert model['Metadata'] == dict(Parameters=last['params'], FLOPs=last['flops'])
    assert model['Results'][0]['Metrics'] == {'Top 1 Accuracy': round(last['metrics']['accuracy/top1'], 2)}


def test_a_wheel_holds_configs_tools_and_index_for_mim(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    mim = tmp_path / 'mmprune/.mim'
    assert all((mim / model['Config']).exists() for content in index(mim) for model in content['Models'])
    assert {path.name for path in mim.iterdir()} == {'configs', 'tools', 'model-index.yml'}
    assert (mim / 'tools/train.py').exists() and (mim / 'tools/test.py').exists()
    assert not [path for path in mim.rglob('*') if path.name in ('__pycache__', 'dev', 'results', 'benchmarks')]
