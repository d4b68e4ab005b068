"""Options that a class or function declares: those of its signature, and of the base classes it passes them on to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator


def _constructors(owner: Callable) -> Iterator[Callable]:
    """The function, or the ``__init__`` of a class and of those that it passes further arguments on to."""
    if not isinstance(owner, type):
        yield owner
        return
    for cls in inspect.getmro(owner):
        init = cls.__dict__.get('__init__')
        if inspect.isfunction(init):
            yield init
            if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(init).parameters.values()):
                return


@functools.cache
def parameters(owner: Callable) -> tuple[dict[str, inspect.Parameter], bool]:
    """Arguments by name, and True if any other would be taken as well."""
    found: dict[str, inspect.Parameter] = {}
    takes_any = False
    for function in _constructors(owner):
        listed = list(inspect.signature(function).parameters.values())[isinstance(owner, type) :]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in listed)
        named = {p.name: p for p in listed if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        found = {**named, **found}
    return found, takes_any


@functools.cache
def declared(owner: Callable) -> dict[str, object]:
    """The kind of every argument, by name, as far as that is annotated."""
    found: dict[str, object] = {}
    for function in _constructors(owner):
        try:
            found = {**inspect.get_annotations(function, eval_str=True), **found}
        except NameError:  # a type that is only imported for type checkers
            continue
    return {name: kind for name, kind in found.items() if name != 'return'}
