"""Check the house: arrows between rooms run down only, no circles, no long files, nothing new at the top.

``python tools/dev/check_architecture.py`` prints what is wrong and ends with 1 if anything is; ``--tree`` prints the
rooms from the top down with what each imports.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = 'mmprune'
ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 300
#: Rooms (folders, and files at the top) from the ground up. A room imports rooms of earlier lines only; those that
#: share a line know nothing of each other.
FLOORS = (
    ('version', 'errors'),
    ('storage', 'options'),
    ('registry',),
    ('surgery',),
    ('checkpoint',),
    ('graph', 'models'),
    ('measure',),
    ('images',),
    ('datasets', 'distortion', 'expanders', 'moments'),
    ('report',),
    ('allocators', 'criteria', 'distillation', 'restorers'),
    ('deployment', 'pruners'),
    ('pipeline',),
    ('api',),
    ('engine',),
    ('analysis', 'sweeps'),
)


def modules(root: Path) -> dict[str, Path]:
    """Path of every module by its dotted name."""
    return {
        '.'.join(path.relative_to(root).with_suffix('').parts).removesuffix('.__init__'): path
        for path in sorted((root / PACKAGE).rglob('*.py'))
    }


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of the package that a module imports, anywhere in it: in functions and for type checkers, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            while name and name not in known:
                name = name.rpartition('.')[0]
            if name:
                yield name


def room(module: str) -> str:
    """Folder, or file at the top, that a module is in; '' for the package itself."""
    return (module.split('.') + [''])[1]


def upward(graph: dict[str, set[str]]) -> Iterator[str]:
    """Arrows that do not run down."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    for module, targets in graph.items():
        for target in sorted(targets):
            here, there = room(module), room(target)
            if here == there or not here:
                continue
            if not there:
                yield f'{module} imports {target}, which imports everything'
            elif here in floor and there in floor and floor[there] >= floor[here]:
                yield f'{module} imports {target}: {here} is not above {there}'


def circles(graph: dict[str, set[str]]) -> Iterator[str]:
    """One line for every set of modules that import each other in a circle."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[str]:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                yield from visit(target)
                low[module] = min(low[module], low[target])
            elif target in stack:
                low[module] = min(low[module], index[target])
        if low[module] == index[module]:
            members = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(members) > 1:
                yield f'circle: {" → ".join(sorted(members))}'

    for module in graph:
        if module not in index:
            yield from visit(module)


def problems(root: Path) -> list[str]:
    """Everything that is wrong, one line each."""
    paths = modules(root)
    known = set(paths)
    graph = {module: set(imports(path, known)) - {module} for module, path in paths.items()}
    # A package's own __init__ only gathers: that a module lies below it is no arrow to it.
    inner = {
        module: {name for name in targets if paths[name].name != '__init__.py' or room(name) != room(module)}
        for module, targets in graph.items()
    }
    found = [*upward(inner), *circles(inner)]
    for path in paths.values():
        lines = len(path.read_text().splitlines())
        if lines > MOST_LINES:
            found.append(f'{path.relative_to(root)}: {lines} lines, at most {MOST_LINES}')
    rooms = {name for names in FLOORS for name in names}
    found += [
        f'{name}: no such room; say in {Path(__file__).name} which floor it is on'
        for name in sorted({room(module) for module in paths} - rooms - {''})
    ]
    return found


def main() -> None:
    """Print problems, or the tree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--root', type=Path, default=ROOT)
    parser.add_argument('--tree', action='store_true', help='print the rooms and their arrows')
    args = parser.parse_args()
    if args.tree:
        paths = modules(args.root)
        for names in reversed(FLOORS):
            for name in names:
                below = {
                    room(target)
                    for module, path in paths.items()
                    if room(module) == name
                    for target in imports(path, set(paths))
                } - {name, ''}
                print(f'{name:14} → {", ".join(sorted(below)) or "nothing"}')
        return
    found = problems(args.root)
    print('\n'.join(found) or 'arrows run down, no circles, no long files')
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
