"""Texts of configs that came out of a file, and are executed by mmengine."""

from __future__ import annotations

import ast

#: Names in a config by which mmengine executes more than its text: other configs, and modules.
REACHING = frozenset({'_base_', 'custom_imports'})


def is_only_values(text: str) -> bool:
    """A config that assigns plain values to names, as mmengine itself writes them; executing it does nothing else.

    Args:
        text: Python, as in ``Config.pretty_text``.
    """
    if '{{' in text:  # mmengine fills these in before it executes the text
        return False
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(
        isinstance(line, ast.Assign)
        and all(isinstance(target, ast.Name) and target.id not in REACHING for target in line.targets)
        and all(_is_value(node) for node in ast.walk(line.value))
        for line in lines
    )


def _is_value(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == 'dict'
    if isinstance(node, ast.Name):
        return node.id == 'dict'
    kinds = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Set, ast.keyword, ast.Load, ast.UnaryOp, ast.USub)
    return isinstance(node, kinds)
