"""The arguments of a `setup()` call, read from the syntax tree. What code computes stays unknown: None,
never a guess.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def setup_arguments(text: str) -> dict[str, Any]:
    """Keyword arguments of the `setup()` call; an argument that is not literal is None."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return {"install_requires": None} if text else {}
    names: dict[str, Any] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            names[node.targets[0].id] = _literal(node.value, names)
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _called(node) == "setup":
            found = {k.arg: _literal(k.value, names) for k in node.keywords if k.arg}
            unknown = any(
                k.arg is None and not isinstance(_literal(k.value, names), dict) for k in node.keywords
            )
            for k in node.keywords:
                if k.arg is None and isinstance(expanded := _literal(k.value, names), dict):
                    found = expanded | found
            return ({"install_requires": None} if unknown else {}) | found
    return {}


def _called(node: ast.Call) -> str:
    return (
        node.func.id
        if isinstance(node.func, ast.Name)
        else node.func.attr
        if isinstance(node.func, ast.Attribute)
        else ""
    )


def _literal(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """The value of a literal expression over known names; None where it is computed."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names.get(name)
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            values = [_literal(item, names) for item in items]
            return None if None in values else values
        case ast.Dict(keys=keys, values=values):
            pairs = [
                (_literal(k, names) if k else None, _literal(v, names))
                for k, v in zip(keys, values, strict=True)
            ]
            return {k: v for k, v in pairs if isinstance(k, str)}
        case ast.Call(args=[], keywords=keywords) if _called(node) == "dict":
            return {k.arg: _literal(k.value, names) for k in keywords if k.arg}
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            a, b = _literal(left, names), _literal(right, names)
            return a + b if isinstance(a, (str, list)) and type(a) is type(b) else None
    return None
