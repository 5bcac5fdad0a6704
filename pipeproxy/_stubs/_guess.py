"""The type of an attribute without an annotation, from what is given to it.

What a type checker would infer, where that is plain to see; None where it is not.
"""

from __future__ import annotations

import ast

from ._declared import Function, Value, Values
from ._parameters import Scope, parameters_of_class
from ._sources import Imported, Origin, dotted, find
from ._types import Types, Way

_NUMBERS = ("int", "float", "complex")


class Guess:
    """Guesses the types of the attributes of one class, as texts for its stub."""

    def __init__(self, types: Types) -> None:
        self._types = types

    def of(self, declared: Values, way: Way) -> str | None:
        """The type of what is given; the first value decides, or the first that is not None."""
        texts = [self._type(value, declared.scope, way) for value in declared.values]
        known = [text for text in texts if text and text != "None"]
        if not known or texts[0] is None:
            return None
        return f"{known[0]} | None" if texts[0] == "None" else known[0]

    def _type(self, given: Value, scope: Scope, way: Way) -> str | None:
        value, function = given
        again = {ast.List: "list", ast.Set: "set", ast.ListComp: "list", ast.SetComp: "set"}
        if isinstance(value, ast.Constant):
            return self._constant(value.value)
        if isinstance(value, ast.JoinedStr):
            return self._builtin("str")
        if isinstance(value, (ast.Compare,)) or _is_not(value):
            return self._builtin("bool")
        if isinstance(value, ast.UnaryOp):
            return self._type(Value(value.operand, function), scope, way)
        if isinstance(value, ast.BinOp):
            return self._arithmetic(value, function, scope, way)
        if isinstance(value, (ast.IfExp, ast.BoolOp)):
            either = [value.body, value.orelse] if isinstance(value, ast.IfExp) else value.values
            return self._common(either, function, scope, way)
        if type(value) in again:
            items = value.elts if isinstance(value, (ast.List, ast.Set)) else []
            item = self._common(items, function, scope, way)
            return f"{self._builtin(again[type(value)])}[{item}]" if item else None
        if isinstance(value, ast.Tuple):
            items_of = [self._type(Value(e, function), scope, way) for e in value.elts]
            inside = ", ".join(filter(None, items_of))
            return f"{self._builtin('tuple')}[{inside}]" if all(items_of) and inside else None
        if isinstance(value, ast.Dict):
            return self._dict(value, function, scope, way)
        if isinstance(value, ast.Call):
            return self._call(value, scope, way)
        if isinstance(value, ast.Name):
            return self._name(value, function, scope, way)
        return None

    def _builtin(self, name: str) -> str:
        return self._types.name("builtins", name)

    def _constant(self, value: object) -> str | None:
        if isinstance(value, (int, float, complex, str, bytes)):
            return self._builtin(type(value).__name__)
        return "None" if value is None else None

    def _arithmetic(
        self, value: ast.BinOp, function: Function | None, scope: Scope, way: Way
    ) -> str | None:
        sides = {
            self._type(Value(side, function), scope, way) for side in (value.left, value.right)
        }
        if isinstance(value.op, ast.Div) and sides <= {"int", "float"}:
            return self._builtin("float")
        if not isinstance(value.op, ast.Pow) and sides <= {*_NUMBERS}:
            return max((s for s in sides if s), key=_NUMBERS.index)
        return sides.pop() if isinstance(value.op, ast.Add) and len(sides) == 1 else None

    def _common(
        self, values: list[ast.expr], function: Function | None, scope: Scope, way: Way
    ) -> str | None:
        """The one type of all of these, or a union with None."""
        found = {self._type(Value(value, function), scope, way) for value in values}
        optional = " | None" if "None" in found and len(found) == 2 else ""
        found -= {"None"} if optional else set()
        only = found.pop() if len(found) == 1 else None
        return only + optional if only else None

    def _dict(
        self, value: ast.Dict, function: Function | None, scope: Scope, way: Way
    ) -> str | None:
        if None in value.keys:
            return None
        keys = [key for key in value.keys if key is not None]
        key = self._common(keys, function, scope, way)
        item = self._common(value.values, function, scope, way)
        return f"{self._builtin('dict')}[{key}, {item}]" if key and item else None

    def _call(self, call: ast.Call, scope: Scope, way: Way) -> str | None:
        """What a class makes, or a function says that it returns."""
        origin = self._types.origin(call.func, scope)
        if origin is None:
            return None
        if _is_class(origin) and not _is_generic(origin):
            return self._types.text(call.func, scope, way)
        source = find(origin.module)
        defined = source.binding(origin.qualname) if source else None
        if source and isinstance(defined, ast.FunctionDef) and defined.returns:
            self._types.free.clear()
            text = self._types.text(defined.returns, Scope(source), way)
            return None if self._types.free else text
        return None

    def _name(
        self, name: ast.Name, function: Function | None, scope: Scope, way: Way
    ) -> str | None:
        """What a parameter is annotated with, or a name of the module."""
        if function is not None:
            args = function.args
            named = {a.arg: a for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)}
            if name.id in named:
                annotation = named[name.id].annotation
                free = {*self._types.free}
                text = self._types.text(annotation, scope, way) if annotation else None
                return text if free == {*self._types.free} else None
            if name.id in _locals_of(function):
                return None
        bound = scope.source.binding(name.id)
        if isinstance(bound, ast.AnnAssign):
            return self._types.text(bound.annotation, Scope(scope.source), way)
        if isinstance(bound, ast.Assign):
            return self._type(Value(bound.value, None), Scope(scope.source), way)
        return None


def _is_not(value: ast.expr) -> bool:
    return isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)


def _locals_of(function: Function) -> set[str]:
    inside = ast.walk(function)
    return {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _is_class(origin: Origin) -> bool:
    """Say whether type checkers see a class there; some are functions when the program runs."""
    source = find(origin.module)
    if source is None:
        return False
    if source.class_at(origin.qualname):
        return True
    alias = source.binding(origin.qualname)
    if not isinstance(alias, ast.Assign):
        return False
    parts = dotted(alias.value)
    bound = source.binding(parts[0]) if parts else None
    if len(parts) == 2 and isinstance(bound, Imported):  # threading.Lock = _thread.lock
        return _is_class(Origin(bound.module, parts[1]))
    if len(parts) != 1 or parts == [origin.qualname]:
        return False
    return _is_class(origin._replace(qualname=parts[0]))


def _is_generic(origin: Origin) -> bool:
    source = find(origin.module)
    found = source.class_at(origin.qualname) if source else None
    return bool(found and parameters_of_class(found[1], Scope(found[0])))
