"""Where the sources declare the members of a class, in whichever class of its MRO."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from ._parameters import Argument, Parameter, Scope, parameters_of_class
from ._sources import bound_by, dotted, executed, find

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Functions(NamedTuple):
    """A member that is made by ``def``: all of its overloads, or a property's functions."""

    nodes: list[Function]
    scope: Scope


class Annotated(NamedTuple):
    """A member that is annotated."""

    annotation: ast.expr
    scope: Scope


class Nested(NamedTuple):
    """A class inside of a class."""

    name: ast.expr
    scope: Scope


class Value(NamedTuple):
    """What is given to a member, and the function that does so, if it is not the class's body."""

    value: ast.expr
    function: Function | None


class Values(NamedTuple):
    """A member without an annotation: all that is given to it in one class."""

    values: list[Value]
    scope: Scope


Declared = Functions | Annotated | Nested | Values


class Declarations:
    """The declarations of all members of a class.

    Attributes:
        parameters: the type variables of the class.
        node: its definition, None where there is no source.
    """

    def __init__(self, cls: type) -> None:
        self._views: dict[type, _View] = {}
        self.parameters: list[Parameter] = []
        self.node: ast.ClassDef | None = None
        self._add(cls, None)
        if cls in self._views:
            self.node = self._views[cls].node
        self._ordered = [self._views[c] for c in cls.__mro__ if c in self._views]

    def of(self, name: str) -> Declared | None:
        """The declaration of a member that a type checker would go by, None if there is none."""
        for view in self._ordered:
            for statement in reversed(view.members.get(name, ())):
                if isinstance(statement, Function):
                    return self._functions(name, view)
                if isinstance(statement, ast.ClassDef):
                    return Nested(ast.Name(name, ast.Load()), view.scope)
                if isinstance(statement, ast.AnnAssign):
                    return Annotated(statement.annotation, view.scope)
                alias = getattr(statement, "value", None)
                if isinstance(alias, ast.Name) and alias.id != name:
                    found = _functions_in(view.members.get(alias.id, ()))
                    if found:
                        return Functions(found, view.scope)
            for stored in view.stored.get(name, ()):
                if isinstance(stored, ast.AnnAssign):
                    return Annotated(stored.annotation, view.scope)
        return self.values(name)

    def values(self, name: str) -> Values | None:
        """What is given to a member in the nearest class that gives it anything."""
        for view in self._ordered:
            values = list(_values(name, view))
            if values:
                return Values(values, view.scope)
        return None

    def _functions(self, name: str, first: _View) -> Functions:
        nodes = _functions_in(first.members[name])
        decorators = [_last(d) for node in nodes for d in node.decorator_list]
        if decorators and {"setter", "deleter", "getter"}.issuperset(decorators):
            for view in self._ordered:  # `@Base.size.setter`: its getter stands in a base
                if view is not first and name in view.members:
                    nodes = _functions_in(view.members[name]) + nodes
                    break
        return Functions(nodes, first.scope)

    def _add(self, cls: type, arguments: list[Argument] | None) -> None:
        """Add the view of a class that was given these arguments, and those of its bases."""
        if cls is object or cls in self._views:
            return
        source = find(cls.__module__)
        found = source.class_at(cls.__qualname__) if source else None
        if found is None:
            for base in cls.__bases__:
                self._add(base, [])
            return
        source, node = found
        scope = Scope(source, cls.__qualname__, node)
        parameters = parameters_of_class(node, scope)
        if arguments is None:
            self.parameters = parameters
            bound: dict[str, Argument | None] = dict.fromkeys((p.name for p in parameters), None)
        else:
            given = [*arguments, *(_default(p) for p in parameters[len(arguments) :])]
            bound = {p.name: argument for p, argument in zip(parameters, given, strict=False)}
        scope = scope._replace(arguments=bound)
        self._views[cls] = _View(node, scope)
        for base in cls.__bases__:
            written = next((b for b in node.bases if _names(b, base)), None)
            self._add(base, [Argument(a, scope) for a in _arguments(written)])


class _View:
    """One class as it is written: what stands in its body, and what its methods store."""

    def __init__(self, node: ast.ClassDef, scope: Scope) -> None:
        self.node = node
        self.scope = scope
        self.members: dict[str, list[ast.stmt]] = {}
        self.stored: dict[str, list[ast.stmt]] = {}
        self.functions: dict[ast.stmt, Function] = {}
        for statement in executed(node.body):
            for name in bound_by(statement):
                self.members.setdefault(name, []).append(statement)
            if isinstance(statement, Function):
                self._add_stored(statement)

    def _add_stored(self, function: Function) -> None:
        parameters = [*function.args.posonlyargs, *function.args.args]
        me = parameters[0].arg if parameters else ""
        for statement in ast.walk(function):
            targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
            if isinstance(statement, (ast.Assign, ast.AnnAssign)):
                for target in targets:
                    if isinstance(target, ast.Attribute) and dotted(target.value) == [me]:
                        self.stored.setdefault(target.attr, []).append(statement)
                        self.functions[statement] = function


def _values(name: str, view: _View) -> Iterator[Value]:
    for statement in (*view.members.get(name, ()), *view.stored.get(name, ())):
        value = getattr(statement, "value", None)
        if isinstance(value, ast.expr):
            yield Value(value, view.functions.get(statement))


def _functions_in(statements: list[ast.stmt] | tuple[ast.stmt, ...]) -> list[Function]:
    return [s for s in statements if isinstance(s, Function)]


def _last(decorator: ast.expr) -> str:
    return (dotted(decorator) or [""])[-1]


def _names(written: ast.expr, base: type) -> bool:
    head = written.value if isinstance(written, ast.Subscript) else written
    return dotted(head)[-1:] == [base.__name__]


def _arguments(written: ast.expr | None) -> list[ast.expr]:
    if not isinstance(written, ast.Subscript):
        return []
    inside = written.slice
    return list(inside.elts) if isinstance(inside, ast.Tuple) else [inside]


def _default(parameter: Parameter) -> Argument:
    if parameter.default is not None:
        return Argument(parameter.default, parameter.scope)
    typing = find("typing")
    assert typing, "Python has a module typing"
    return Argument(ast.Name("Any", ast.Load()), Scope(typing))
