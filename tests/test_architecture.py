"""The check of the house sees every kind of fault, and finds none in mmprune."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def load_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location('check_architecture', ROOT / 'tools/dev/check_architecture.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = load_check()


def problems(root: Path, **files: str) -> list[str]:
    """What the check says of a small package; names of files have ``__`` for the slash."""
    for name, text in files.items():
        path = root / 'mmprune' / f'{name.replace("__", "/")}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / 'mmprune/__init__.py').touch()
    return check.problems(root)


@pytest.mark.parametrize(
    ('files', 'problem'),
    [
        pytest.param(
            {
                'surgery__slicing': 'from mmprune.criteria.base import Criterion',
                'criteria__base': 'class Criterion: ...',
            },
            'mmprune.surgery.slicing imports mmprune.criteria.base: surgery is not above criteria',
            id='upward',
        ),
        pytest.param(
            {
                'surgery__slicing': 'def cut():\n    from mmprune.criteria import base\n    return base',
                'criteria__base': '',
            },
            'mmprune.surgery.slicing imports mmprune.criteria.base: surgery is not above criteria',
            id='upward in a function',
        ),
        pytest.param(
            {'allocators__base': 'import mmprune.criteria.base', 'criteria__base': ''},
            'mmprune.allocators.base imports mmprune.criteria.base: allocators is not above criteria',
            id='sideways',
        ),
        pytest.param(
            {'graph__site': 'import mmprune'}, 'mmprune.graph.site imports mmprune, which imports everything', id='all'
        ),
        pytest.param(
            {
                'graph__find': 'from mmprune.graph.chain import chain',
                'graph__chain': 'if TYPE_CHECKING:\n    from mmprune.graph import find',
            },
            'circle: mmprune.graph.chain → mmprune.graph.find',
            id='circle',
        ),
        pytest.param({'graph__find': 'from .chain import chain'}, 'mmprune.graph.find:1 imports by dots', id='dots'),
        pytest.param({'graph__find': 'x = 0\n' * 301}, 'mmprune/graph/find.py: 301 lines, at most 300', id='long'),
        pytest.param({'helpers': ''}, 'mmprune/helpers.py: at the top there are rooms and', id='top'),
        pytest.param({'utils__helpers': ''}, 'utils: no such room; say in check_architecture.py', id='new room'),
        pytest.param(
            {'graph__find': 'def f(group):\n    return group._members'},
            'mmprune.graph.find:2 uses group._members, which is private',
            id='private attribute',
        ),
        pytest.param(
            {'graph__find': "def f(group):\n    return getattr(group.site, '_members', ())"},
            'mmprune.graph.find:2 uses group.site._members, which is private',
            id='private attribute by name',
        ),
        pytest.param(
            {'graph__find': 'from mmprune.graph.chain import _walk', 'graph__chain': 'def _walk(): ...'},
            'mmprune.graph.find:1 imports mmprune.graph.chain._walk, which is private',
            id='private function',
        ),
        pytest.param(
            {
                'graph__find': 'def f(module):\n    module._mmprune_x = 1',
                'surgery__masking': "def f(module):\n    return getattr(module, '_mmprune_x', 0)",
            },
            '_mmprune_x is left on modules by mmprune.graph.find and mmprune.surgery.masking',
            id='mark',
        ),
        pytest.param(
            {'pipeline': 'CLOCK_S = 1.0', 'api': 'from mmprune import pipeline\npipeline.CLOCK_S = 0.0'},
            'mmprune.api:2 sets pipeline.CLOCK_S, which it imported',
            id='state',
        ),
        pytest.param(
            {'pipeline': 'CLOCKS = {}', 'api': "from mmprune.pipeline import CLOCKS\nCLOCKS['a'] = 0.0"},
            "mmprune.api:2 sets CLOCKS['a'], which it imported",
            id='state in a container',
        ),
        pytest.param(
            {'api': 'from mmengine.runner import checkpoint\ncheckpoint.load = None'},
            'mmprune.api:2 sets checkpoint.load, which it imported',
            id='host patched',
        ),
        pytest.param(
            {'api': 'COUNT = 0\ndef f():\n    global COUNT\n    COUNT += 1'},
            'mmprune.api:3 has a global variable: COUNT',
            id='global',
        ),
        pytest.param(
            {'graph__find': 'def f():\n    """Whether it is found."""'},
            "mmprune.graph.find:1 opens with 'Whether'; say what it is",
            id='question',
        ),
        pytest.param(
            {
                'graph__find': '"""Whatever."""\nclass A:\n    """A.\n\n    Args:\n        x: One.\n    """\n'
                '    def __init__(self, x): ...'
            },
            'mmprune.graph.find:2 documents the arguments of __init__; put them there',
            id='arguments at the class',
        ),
    ],
)
def test_a_fault_is_named(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    found = problems(tmp_path, **files)
    assert len(found) == 1 and found[0].startswith(problem), found


def test_tools_set_nothing_of_ours_either(tmp_path: Path) -> None:
    tool = tmp_path / 'tools/dev/benchmark.py'
    tool.parent.mkdir(parents=True)
    tool.write_text('import sys\nimport torch\nfrom mmprune import pipeline\n'
                    'sys.path[:1] = []\ntorch.x = 1\npipeline.CLOCK_S = 0.0')  # fmt: skip
    assert problems(tmp_path, pipeline='') == ['tools/dev/benchmark.py:6 sets pipeline.CLOCK_S, which it imported']


def test_what_is_allowed_passes(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        storage__files='import os\n\ndef f(text):\n    os.environ["A"] = text',
        surgery__slicing='from mmprune.storage.files import f\n\nclass A:\n    def __init__(self, other):\n'
        '        self._width = other._width\n        self.__dict__ = super()._x\n\n'
        'def g(module, grad_fn):\n    return module._buffers, grad_fn._saved_self, f.__name__, getattr(f, f.name)',
        graph__find='from mmprune.surgery import slicing\nfrom mmprune.graph import chain',
        graph__chain='import mmprune.surgery.slicing',
        graph____init__='from mmprune.graph.find import slicing',
    )
    assert found == []


def test_mmprune_is_in_order() -> None:
    assert check.problems(ROOT) == []


def test_no_permission_outlives_its_use() -> None:
    text = ''.join(path.read_text() for path in (ROOT / 'mmprune').rglob('*.py'))
    assert [name for name in check.FOREIGN if not re.search(rf"[.'\"]{name}\b", text)] == []
    assert [name for name in check.TOUCHES_HOSTS if name not in check.modules(ROOT)] == []
    assert [name for names in check.FLOORS for name in names if not list((ROOT / 'mmprune').glob(f'{name}*'))] == []


def test_pre_commit_and_make_lint_alike() -> None:
    pinned = dict(re.findall(r'^(\w+)==(.+)$', (ROOT / 'requirements/tests.txt').read_text(), re.MULTILINE))
    hooks = (ROOT / '.pre-commit-config.yaml').read_text()
    assert re.search(r'ruff-pre-commit\n +rev: v(.+)\n', hooks)[1] == pinned['ruff']
    assert 'mypy' in pinned and 'entry: python -m mypy\n' in hooks  # the installed one
