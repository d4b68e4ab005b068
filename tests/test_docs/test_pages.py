"""The documentation's links, navigation, includes and pictures; without the generator that makes a site of it."""

import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / 'docs').rglob('*.md'))
TEXTS = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *PAGES, *sorted(ROOT.glob('configs/*/README.md'))]
FENCE = re.compile(r'^ *```.*?^ *```', re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub and the site's generator both make them of plain words."""
    titles = re.findall(r'^#+ (.+)$', FENCE.sub('', text), re.MULTILINE)
    return {re.sub(r'[\s]+', '-', re.sub(r'[^\w\s-]', '', title).strip().lower()) for title in titles}


def entries(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [path for item in (nav.values() if isinstance(nav, dict) else nav) for path in entries(item)]


def load(tool: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(tool, ROOT / f'tools/dev/{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r'\]\(([^)\s]+)\)', FENCE.sub('', path.read_text())):
        if re.match(r'[a-z]+:', target):
            continue
        file, _, anchor = target.partition('#')
        other = (path.parent / file).resolve() if file else path
        assert other.exists(), f'{name(path)}: {target}'
        if anchor:
            assert anchor in anchors(other.read_text()), f'{name(path)}: {target}'


def test_the_navigation_names_every_page_once() -> None:
    nav = entries(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    assert len(nav) == len(set(nav))
    pages = {str(path.relative_to(ROOT / 'docs')) for path in PAGES}
    tables = {f'configs/{path.parent.name}.md' for path in ROOT.glob('configs/*/README.md')}
    assert {path for path in {*nav} ^ (pages | tables) if not path.startswith('coverage')} == set()


@pytest.mark.parametrize('path', PAGES, ids=name)
def test_what_a_page_includes_and_runs_exists(path: Path) -> None:
    text = path.read_text()
    for included in re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE):
        assert (ROOT / included).exists(), included
    for part in re.findall(r'^::: ([\w.]+)$', text, re.MULTILINE):
        pkgutil.resolve_name(part)


@pytest.mark.parametrize('path', TEXTS, ids=name)
def test_files_and_modules_that_a_text_names_exist(path: Path) -> None:
    text = re.sub(r'<!--.*?-->', '', path.read_text())
    files = re.findall(r'(?<![\w/.-])((?:mmprune|tools|configs|docs|tests|requirements)/[\w./-]*\w)(?![\w/*<{])', text)
    assert [file for file in files if not (ROOT / file).exists() and 'my_' not in file] == []
    for part in re.findall(r'(?<![\w/.-])mmprune(?:\.\w+){2,}', text):
        pkgutil.resolve_name(part)


def test_docstrings_refer_to_what_there_is() -> None:
    for path in sorted((ROOT / 'mmprune').rglob('*.py')):
        for part in re.findall(r':\w+:`~?(mmprune[\w.]+)`', path.read_text()):
            assert pkgutil.resolve_name(part) is not None, f'{name(path)}: {part}'


def test_the_page_on_the_architecture_shows_the_tree_as_it_is() -> None:
    page = ROOT / 'docs/architecture.md'
    written = load('check_architecture').with_tree(page.read_text(), ROOT)
    assert page.read_text() == written, 'run `python tools/dev/check_architecture.py --docs`'


def test_every_registered_part_is_in_the_reference() -> None:
    from mmprune import registry

    text = ''.join(path.read_text() for path in (ROOT / 'docs/reference').glob('*.md'))
    for node in (
        registry.CRITERIA,
        registry.ALLOCATORS,
        registry.PRUNERS,
        registry.RESTORERS,
        registry.GRAPHS,
        registry.SYNTHESIZERS,
        registry.DISTILLATIONS,
    ):
        node.import_from_location()
        for part in node.module_dict.values():
            assert part.__module__.startswith('mmprune.') is False or f'.{part.__name__}\n' in f'{text}\n', part


@pytest.mark.parametrize(
    ('html', 'problem'),
    [
        ('<a href="b.html#x">', None),
        ('<a href="#here">', None),
        ('<a href="https://example.org/x">', None),
        ('<a href="c.html">', 'no file c.html'),
        ('<a href="b.html#y">', 'no anchor b.html#y'),
        ('<img src="a.png">', 'no file a.png'),
        ('<script src="https://example.org/x.js">', 'loads https'),
        ('<a href="#there">', 'no anchor #there'),
    ],
)
def test_dead_links_of_a_site_are_found(tmp_path: Path, html: str, problem: str | None) -> None:
    (tmp_path / 'index.html').write_text(f'<p id="here">{html}')
    (tmp_path / 'b.html').write_text('<h1 id="x">b</h1>')
    found = load('check_site').problems(tmp_path)
    assert (problem is None and not found) or (len(found) == 1 and problem in found[0])
