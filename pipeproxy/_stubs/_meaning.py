"""What a name in an annotation means, and how it came to where it stands."""

from __future__ import annotations

import ast
from typing import NamedTuple

from ._parameters import Scope
from ._sources import Imported, Origin, bound_by, dotted, executed, find, find_module


class Meaning(NamedTuple):
    """What a dotted name means, and how it came to where it stands.

    Attributes:
        origin: where it is defined.
        module: the module that it, or its first part, is imported from, or is defined in.
        name: the first part's name there; None if the first part is that module.
        spelled: the first part.
        rest: what follows it.
    """

    origin: Origin
    module: str
    name: str | None
    spelled: str
    rest: list[str]


def meaning_of(node: ast.expr, scope: Scope) -> Meaning | None:
    """What a dotted name means where it stands, None if that cannot be found."""
    spelled, *rest = dotted(node) or [""]
    own = scope.source.name
    if scope.node is not None and _has_type(scope.node, spelled):
        inside = [*scope.qualname.split("."), spelled, *rest]
        return Meaning(Origin(own, ".".join(inside)), own, inside[0], inside[0], inside[1:])
    bound = scope.source.binding(spelled)
    if isinstance(bound, Imported):
        module = bound.module if bound.name is None else f"{bound.module}.{bound.name}"
        if bound.name is None or find_module(module):
            return _in_module(module, spelled, rest)
    origin = scope.source.origin(spelled)
    if origin is None:
        return None
    origin = Origin(origin.module, ".".join([origin.qualname, *rest]))
    if isinstance(bound, Imported):
        return Meaning(origin, bound.module, bound.name, spelled, rest)
    return Meaning(origin, "builtins" if bound is None else own, spelled, spelled, rest)


def is_type(value: ast.expr) -> bool:
    """Say whether an expression has the form of a type."""
    if isinstance(value, (ast.Subscript, ast.BinOp)):
        return True
    return bool(dotted(value)) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(value.value)
    )


def _in_module(module: str, spelled: str, rest: list[str]) -> Meaning | None:
    inner = module
    at = 0
    while at < len(rest) and find_module(f"{inner}.{rest[at]}"):
        inner, at = f"{inner}.{rest[at]}", at + 1
    if at == len(rest):
        return None
    source = find(inner)
    origin = (source.origin(rest[at]) if source else None) or Origin(inner, rest[at])
    origin = Origin(origin.module, ".".join([origin.qualname, *rest[at + 1 :]]))
    if module == spelled:  # `import a.b` is written out, `import a.b as c` is not
        return Meaning(origin, inner, None, spelled, rest[at:])
    return Meaning(origin, module, None, spelled, rest)


def _has_type(node: ast.ClassDef, name: str) -> bool:
    """Say whether a class has a class or an alias of this name in its body."""
    inside = (s for s in executed(node.body) if isinstance(s, ast.ClassDef) or _is_alias(s))
    return any(name in bound_by(statement) for statement in inside)


def _is_alias(statement: ast.stmt) -> bool:
    if type(statement).__name__ == "TypeAlias":
        return True
    if isinstance(statement, ast.AnnAssign):
        return dotted(statement.annotation)[-1:] == ["TypeAlias"]
    return isinstance(statement, ast.Assign) and is_type(statement.value)
