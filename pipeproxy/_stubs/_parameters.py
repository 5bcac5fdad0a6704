"""Type variables, whichever way they were written: in stubs all are parameters, as of PEP 695."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ._sources import Definition, Imported, Source, dotted, find

_MAKERS = {"TypeVar": "", "TypeVarTuple": "*", "ParamSpec": "**"}


class Argument(NamedTuple):
    """What stands for a type variable: an annotation, and where it stands."""

    annotation: ast.expr
    scope: Scope


class Scope(NamedTuple):
    """Where an annotation stands, so that its names can be found.

    Attributes:
        source: its module.
        qualname: the class in whose body it stands, "" for none.
        node: the same class.
        arguments: the type variables of that class, with what stands for each; itself if None.
    """

    source: Source
    qualname: str = ""
    node: ast.ClassDef | None = None
    arguments: Mapping[str, Argument | None] = {}


class Parameter(NamedTuple):
    """One type variable, and where what it says of itself stands.

    Attributes:
        is_made: whether it is none of the user's, but stands for a class or its proxies.
    """

    name: str
    stars: str
    bounds: tuple[ast.expr, ...]
    default: ast.expr | None
    scope: Scope
    is_made: bool = False


def parameter_called(name: str, scope: Scope) -> Parameter | None:
    """The type variable that is called so here, None if it is something else."""
    found = definition(scope.source, name)
    if found is None:
        return None
    source, node = found
    call = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if not isinstance(call, ast.Call):
        return None
    maker = (dotted(call.func) or [""])[-1]
    if maker not in _MAKERS:
        return None
    options = {k.arg: k.value for k in call.keywords}
    bounds = tuple(call.args[1:]) or tuple(filter(None, [options.get("bound")]))
    return Parameter(name, _MAKERS[maker], bounds, options.get("default"), Scope(source))


def parameters_of_class(node: ast.ClassDef, scope: Scope) -> list[Parameter]:
    """The type variables of a class, in the order in which it takes arguments."""
    if getattr(node, "type_params", ()):
        return list(parameters_written(node, scope))
    listed = [b for b in node.bases if _head(b) in {"Generic", "Protocol"}]
    found: dict[str, Parameter] = {}
    for base in listed or node.bases:
        for part in ast.walk(base.slice) if isinstance(base, ast.Subscript) else ():
            if isinstance(part, ast.Name) and part.id not in found:
                parameter = parameter_called(part.id, scope)
                if parameter:
                    found[part.id] = parameter
    return list(found.values())


def parameters_written(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope
) -> Iterator[Parameter]:
    """Yield the type variables that are written in brackets behind a name."""
    for written in getattr(node, "type_params", ()):
        bound = getattr(written, "bound", None)
        bounds = bound.elts if isinstance(bound, ast.Tuple) else filter(None, [bound])
        stars = _MAKERS[type(written).__name__]
        default = getattr(written, "default_value", None)
        yield Parameter(written.name, stars, tuple(bounds), default, scope)


def definition(source: Source, name: str) -> tuple[Source, Definition] | None:
    """Where what is called `name` in a module is defined, and how."""
    for _ in range(20):  # there are circles of imports
        bound = source.binding(name)
        if not isinstance(bound, Imported):
            return (source, bound) if bound is not None else None
        further = find(bound.module) if bound.name else None
        if further is None:
            return None
        source, name = further, bound.name or ""
    return None


def _head(base: ast.expr) -> str:
    return (dotted(base.value) or [""])[-1] if isinstance(base, ast.Subscript) else ""
