"""What is passed to a proxy and certainly cannot be pickled."""

from __future__ import annotations

from collections.abc import Callable

from mypy.checker import TypeChecker
from mypy.errorcodes import ErrorCode
from mypy.nodes import (
    ARG_STAR,
    ARG_STAR2,
    AssignmentExpr,
    CallExpr,
    ConditionalExpr,
    DictExpr,
    Expression,
    FuncDef,
    GeneratorExpr,
    LambdaExpr,
    ListExpr,
    RefExpr,
    SetExpr,
    StarExpr,
    TupleExpr,
)
from mypy.plugin import FunctionContext, MethodContext
from mypy.types import CallableType, Instance, TupleType, Type, get_proper_type

from ._verdicts import GENERATOR, Verdicts, is_proxy, marked

CODE = ErrorCode("unpicklable", "Check that what is passed to proxies can be pickled", "pipeproxy")

_LAMBDA = "A lambda"
_FORMS = {LambdaExpr: _LAMBDA, GeneratorExpr: GENERATOR}
_ADVICE = {
    True: "pass a function that is defined at the top level of a module",
    False: "share it and pass its proxy, or pass plain data instead",
}

#: Expressions that show more of their value than its type; of others the type is all.
_TELLING = {
    *_FORMS,
    *(AssignmentExpr, CallExpr, ConditionalExpr, DictExpr, ListExpr, SetExpr, TupleExpr),
}


def mark_shared(context: FunctionContext | MethodContext) -> Type:
    """Note of what `share` returns that it is a proxy, where it has the type of the object."""
    result = get_proper_type(context.default_return_type)
    if isinstance(result, TupleType):
        return result.copy_modified(items=[marked(result.items[0]), *result.items[1:]])
    return marked(result)


class Sending:
    """What is known of the calls of proxies."""

    def __init__(self) -> None:
        self._verdicts = Verdicts()
        #: The signatures of methods of proxies, and the verdicts of their parameters.
        self._declarations: dict[FuncDef, tuple[CallableType, list[str | None]]] = {}

    def forget(self) -> None:
        """Keep nothing that depends on a class: one is analyzed, maybe again."""
        self._verdicts.forget()
        self._declarations.clear()

    def check_arguments(self, method: str, context: MethodContext) -> Type:
        """Report every argument of a proxy's method that certainly cannot be sent."""
        api = context.api
        assert isinstance(api, TypeChecker), "hooks of calls are called by this alone"
        declared = self._declared(context.type, method)
        given = zip(context.args, context.arg_types, context.arg_kinds, strict=True)
        for i, each in enumerate(given):
            for argument, kind, passed in zip(*each, strict=True):
                if passed in (ARG_STAR, ARG_STAR2):
                    continue  # its items are passed, not itself
                what = self._in_expression(argument, kind, api.lookup_type_or_none)
                if what is None and i < len(declared) and declared[i]:
                    harmless = _is_harmless(argument) or is_proxy(kind)
                    what = None if harmless else declared[i]
                if what:
                    api.fail(
                        f"{what} cannot be pickled, so no proxy takes it; "
                        f"{_ADVICE[what == _LAMBDA]}",
                        argument,
                        code=CODE,
                    )
        return context.default_return_type

    def _declared(self, proxy: Type, method: str) -> list[str | None]:
        """The verdicts of the types that the parameters have, none if there are overloads."""
        proxy = get_proper_type(proxy)
        node = proxy.type.get_method(method) if isinstance(proxy, Instance) else None
        if not isinstance(node, FuncDef) or not isinstance(node.type, CallableType):
            return []
        signature, verdicts = self._declarations.get(node, (None, []))
        if signature is not node.type:  # the method may be analyzed again without its class
            verdicts = [self._verdicts.of_type(kind) for kind in node.type.arg_types[1:]]
            self._declarations[node] = node.type, verdicts
        return verdicts

    def _in_expression(
        self, node: Expression, kind: Type | None, type_of: Callable[[Expression], Type | None]
    ) -> str | None:
        """Say what in the value of an expression cannot be pickled."""
        if type(node) not in _TELLING:
            return self._verdicts.of_type(kind) if kind is not None else None
        form = _FORMS.get(type(node))
        if form:
            return form
        if _is_by_ref(node):
            return None
        parts: list[Expression] | None = None
        if isinstance(node, AssignmentExpr):
            parts = [node.value]
        elif isinstance(node, (ListExpr, SetExpr, TupleExpr)):
            parts = list(node.items)
        elif isinstance(node, DictExpr):
            parts = [part for pair in node.items if pair[0] is not None for part in pair if part]
        if parts is not None:
            each = (
                self._in_expression(part, type_of(part), type_of)
                for part in parts
                if not isinstance(part, StarExpr)
            )
            return next(filter(None, each), None)
        if isinstance(node, ConditionalExpr):
            branches = (node.if_expr, node.else_expr)
            both = [self._in_expression(e, type_of(e), type_of) for e in branches]
            return both[0] if all(both) else None
        return self._verdicts.of_type(kind) if kind is not None else None


def _is_harmless(argument: Expression) -> bool:
    """Say whether an expression can be sent, whatever it is passed as.

    An empty display, None, and what is said to go by reference.
    """
    if _is_by_ref(argument):
        return True
    if isinstance(argument, (ListExpr, SetExpr, TupleExpr, DictExpr)):
        return not argument.items
    return isinstance(argument, RefExpr) and argument.fullname == "builtins.None"


def _is_by_ref(node: Expression) -> bool:
    if not isinstance(node, CallExpr) or not isinstance(node.callee, RefExpr):
        return False
    module, _, function = node.callee.fullname.rpartition(".")
    return module.startswith("pipeproxy.") and function == "by_ref"
