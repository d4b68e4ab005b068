"""Check the house: arrows run down, no circles, no long files, nothing private or set from outside, no questions.

``python tools/dev/check_architecture.py`` prints what is wrong and ends with 1 if anything is; ``--tree`` prints the
rooms from the top down, and ``--docs`` writes them into docs/architecture.md.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
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
#: Files that may stand at the top of the package, beside the rooms.
TOP = ('__init__', 'analysis', 'api', 'errors', 'options', 'pipeline', 'registry', 'version')
#: Private names of other libraries that are read, because these offer no other way.
FOREIGN = {
    '_buffers': 'torch: Module.__getattr__ costs more than the multiplication by a mask',
    '_parameters': 'torch: the entry itself, which may be None',
    '_modules': 'torch: a child whose name is no attribute',
    '_non_persistent_buffers_set': 'torch: an existing buffer goes into the state dict from now on',
    '_register_state_dict_hook': 'torch: public only from 2.6 on, and then without the prefix',
    '_forward_pre_hooks': 'torch: which hooks compute a weight cannot be asked',
    '_tensor_name': 'torch: which tensor a pruning method computes',
    '_input_metadata': 'torch: the shape of what an autograd node gave',
    '_backward_hooks': 'torch: which hooks a tensor has cannot be asked',
    '_version': 'torch: whether a tensor was changed in place',
    '_metadata': 'torch: what a state dict keeps beside its tensors',
    '_core': 'numpy: where 2.0 put its pickled functions',
    '_reconstruct': 'numpy: how arrays are pickled',
    '_fields': 'collections: how a named tuple is recognised',
    '_annealing_cos': 'mmengine: pickled by name',
    '_annealing_linear': 'mmengine: pickled by name',
    '_channel_conversion': 'mmengine: whether a preprocessor swaps red and blue',
    '_load_checkpoint': 'mmengine: how its loaders read files',
    '_resume': 'mmengine: whether a runner resumes',
    '_load_from': 'mmengine: what a runner starts from',
    '_train_loop': 'mmengine: the loop, or its dict when it is not built yet',
    '_test_loop': 'mmengine: the loop, or its dict when it is not built yet',
    '_hooks': 'mmengine: the list itself, to replace a hook in its place',
    '_swap_ema_parameters': 'mmengine: an averaged model is swapped in and out',
    '_resumed_keys': 'mmengine: which entries of the message hub are written',
    '_init_model_weights': 'mmengine: the first step of every loop',
    '_parse_iterable': 'mmengine: how --cfg-options reads values',
}
#: What autograd keeps of a call, and what we leave on a host's module or tensor: the second in one file only.
SAVED, MARK = '_saved_', '_mmprune_'
#: Modules that put something of their own into other libraries.
TOUCHES_HOSTS = {
    'mmprune.checkpoint.mm_loaders': 'mmengine has no hook where a checkpoint is read',
    'mmprune.graph.coupling': 'Torch-Pruning maps all indices anew for every group; taken back at once',
}
#: Words that no docstring opens with.
QUESTIONS = r'(Whether|What|When|Where|Which|Who|Why|How|See)\b'
DOCS = 'docs/architecture.md'


def modules(root: Path) -> dict[str, Path]:
    """Path of every module by its dotted name."""
    return {
        '.'.join(path.relative_to(root).with_suffix('').parts).removesuffix('.__init__'): path
        for path in sorted((root / PACKAGE).rglob('*.py'))
    }


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of the package that a module imports, anywhere in it: in functions and for type checkers, too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            prefix = f'{node.module}.' if isinstance(node, ast.ImportFrom) else ''
            for name in (prefix + alias.name for alias in node.names):
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
    for module, target in ((module, target) for module, targets in graph.items() for target in sorted(targets)):
        here, there = room(module), room(target)
        if here and not there:
            yield f'{module} imports {target}, which imports everything'
        elif here != there and here in floor and floor.get(there, -1) >= floor[here]:
            yield f'{module} imports {target}: {here} is not above {there}'


def circles(graph: dict[str, set[str]]) -> Iterator[str]:
    """Modules that import each other; of circles that share a module, one."""
    while graph:
        try:
            return TopologicalSorter(graph).prepare()
        except CycleError as error:
            members = set(error.args[1])
            yield f'circle: {" → ".join(sorted(members))}'
            graph = {module: targets - members for module, targets in graph.items() if module not in members}
    return None


def attributes(tree: ast.Module) -> Iterator[tuple[ast.expr, str, int]]:
    """Every attribute that is read, set or deleted: its owner, its name and the line; by getattr and its like, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.value, node.attr, node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ('getattr', 'setattr', 'hasattr', 'delattr'):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ''
            yield node.args[0], name, node.lineno


def own_names(tree: ast.Module) -> Iterator[str]:
    """Names that a module defines: functions, classes, variables, fields, attributes of ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(getattr(node, 'ctx', None), ast.Store):
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute) and is_self(node.value):
                yield node.attr


def is_self(node: ast.expr) -> bool:
    """True for ``self``, ``cls`` and ``super()``."""
    return ast.unparse(node) in ('self', 'cls', 'super()')


def is_private(name: str) -> bool:
    """True for ``_name``, not for ``__name__``."""
    return name.startswith('_') and not name.endswith('__')


def private_from_outside(paths: dict[str, Path]) -> Iterator[str]:
    """Private attributes and functions that another module than their own uses."""
    marks: dict[str, set[str]] = defaultdict(set)
    for module, path in paths.items():
        own = set(own_names(parsed(path)))
        for owner, name, line in attributes(parsed(path)):
            if not is_private(name) or name in own or is_self(owner):
                continue
            if name.startswith(MARK):
                marks[name].add(module)
            elif name not in FOREIGN and not name.startswith(SAVED):
                yield f'{module}:{line} uses {ast.unparse(owner)}.{name}, which is private'
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == PACKAGE:
                for name in filter(is_private, (alias.name for alias in node.names)):
                    yield f'{module}:{node.lineno} imports {node.module}.{name}, which is private'
    for name, users in marks.items():
        if len(users) > 1:
            yield f'{name} is left on modules by {" and ".join(sorted(users))}: one file puts and reads a mark'


def set_from_outside(module: str, path: Path) -> Iterator[str]:
    """State of an imported module or class that somebody else than itself sets, and ``global`` variables.

    Tools, other programs and modules that touch their hosts may set up what they run; what is ours they may not set.
    """
    origins = {}
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                origin = getattr(node, 'module', None) or alias.name
                origins[alias.asname or alias.name.split('.')[0]] = origin.split('.')[0]
    ours_only = not module.startswith(PACKAGE) or module in TOUCHES_HOSTS
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Global):
            yield f'{module}:{node.lineno} has a global variable: {", ".join(node.names)}'
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            owner: ast.expr = node
            while isinstance(owner, (ast.Attribute, ast.Subscript)):
                owner = owner.value
            origin = origins.get(ast.unparse(owner))
            # the settings of os and sys belong to the process
            if origin == PACKAGE or not (ours_only or origin in (None, 'os', 'sys')):
                yield f'{module}:{node.lineno} sets {ast.unparse(node)}, which it imported'


def sentences(module: str, path: Path) -> Iterator[str]:
    """Docstrings that open with a question or a pointer, and classes that document the arguments of ``__init__``."""
    for node in ast.walk(parsed(path)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        text = ast.get_docstring(node) or ''
        where = f'{module}:{getattr(node, "lineno", 1)}'
        if opening := re.match(QUESTIONS, text):
            yield f'{where} opens with {opening[0]!r}; say what it is'
        has_init = isinstance(node, ast.ClassDef) and '__init__' in [getattr(item, 'name', '') for item in node.body]
        if has_init and re.search('^Args:$', text, flags=re.MULTILINE):
            yield f'{where} documents the arguments of __init__; put them there'


def out_of_shape(module: str, path: Path, root: Path) -> Iterator[str]:
    """Faults of a file itself: its length, its place, and imports that the arrows would miss."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f'{module}:{node.lineno} imports by dots; write {PACKAGE}.…'
    name, lines = path.relative_to(root), len(path.read_text().splitlines())
    if lines > MOST_LINES:
        yield f'{name}: {lines} lines, at most {MOST_LINES}'
    if path.parent.name == PACKAGE and path.stem not in TOP:
        yield f'{name}: at the top there are rooms and {", ".join(TOP)}; put it into a room'


def problems(root: Path) -> list[str]:
    """Everything that is wrong, one line each."""
    paths = modules(root)
    graph = {module: set(imports(path, set(paths))) - {module} for module, path in paths.items()}
    # A package's own __init__ only gathers: that a module lies below it is no arrow to it.
    inner = {
        module: {name for name in targets if paths[name].name != '__init__.py' or room(name) != room(module)}
        for module, targets in graph.items()
    }
    found = [*upward(inner), *circles(inner), *private_from_outside(paths)]
    for module, path in paths.items():
        found += [*out_of_shape(module, path, root), *set_from_outside(module, path), *sentences(module, path)]
    for path in sorted((root / 'tools').rglob('*.py')):
        name = str(path.relative_to(root))
        found += [*set_from_outside(name, path), *sentences(name, path)]
    folders = {room(module) for module, path in paths.items() if path.parent != root / PACKAGE}
    unknown = sorted(folders - {name for names in FLOORS for name in names})
    return found + [f'{name}: no such room; say in {Path(__file__).name} which floor it is on' for name in unknown]


def tree(root: Path, arrows: bool = False) -> str:
    """The rooms from the top floor down: what each is, its files and, if asked, the rooms that it imports."""
    paths = modules(root)
    floors = []
    for name in (name for names in reversed(FLOORS) for name in names):
        inside = {module: path for module, path in paths.items() if room(module) == name}
        own = paths[f'{PACKAGE}.{name}']
        title, *_ = (ast.get_docstring(parsed(own)) or '').splitlines() or ['']
        folders: dict[str, list[str]] = defaultdict(list)
        for path in inside.values():
            if path != own and path.name != '__init__.py':
                folders[str(path.parent.relative_to(own.parent))].append(path.stem)
        texts = [('' if folder == '.' else f'{folder}/: ') + ', '.join(files) for folder, files in folders.items()]
        if arrows:
            below = {room(target) for path in inside.values() for target in imports(path, set(paths))} - {name, ''}
            texts.append(f'→ {", ".join(sorted(below)) or "nothing"}')
        floors.append(f'{name + "/" if own.name == "__init__.py" else own.name:14} {title}')
        floors += [textwrap.indent(textwrap.fill(text, 100), ' ' * 15) for text in texts]
    return '\n'.join(floors)


def with_tree(text: str, root: Path) -> str:
    """A page with the tree written anew between its two marks."""
    block = f'<!-- rooms -->\n```text\n{tree(root)}\n```\n<!-- end of rooms -->'
    return re.sub(r'<!-- rooms -->.*<!-- end of rooms -->', lambda match: block, text, flags=re.DOTALL)


def main() -> None:
    """Print problems, or the tree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--root', type=Path, default=ROOT)
    parser.add_argument('--tree', action='store_true', help='print the rooms')
    parser.add_argument('--docs', action='store_true', help=f'write the rooms into {DOCS}')
    args = parser.parse_args()
    if args.tree:
        print(tree(args.root, arrows=True))
    elif args.docs:
        page = args.root / DOCS
        page.write_text(with_tree(page.read_text(), args.root))
    else:
        found = problems(args.root)
        print(
            '\n'.join(found)
            or 'arrows run down, no circles, nothing private or set from outside, no long files, no questions'
        )
        sys.exit(bool(found))


if __name__ == '__main__':
    main()
