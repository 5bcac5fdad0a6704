"""Classes whose objects travel, whatever is in them.

Those of a decorated class go by reference; and how others are pickled may have been registered. It
is read while a class is analyzed, and kept with the class: in a later run of mypy the module may
come from its cache, without a word of what is written in it.
"""

from __future__ import annotations

from mypy.nodes import (
    CallExpr,
    Expression,
    ExpressionStmt,
    MemberExpr,
    MypyFile,
    NameExpr,
    TypeInfo,
)
from mypy.plugin import ClassDefContext
from mypy.semanal import SemanticAnalyzer

_KEY = "pipeproxy"
_DECORATOR = "proxied"


def mark(context: ClassDefContext) -> None:
    """Note of a class that its objects travel, if its module says so."""
    api = context.api
    assert isinstance(api, SemanticAnalyzer), "hooks of classes are called by this alone"
    if api.is_stub_file:
        return  # it holds no statements
    decorated = any(_last(decorator) == _DECORATOR for decorator in context.cls.decorators)
    if decorated or context.cls.name in _named_in(api.cur_mod_node):
        context.cls.info.metadata[_KEY] = {"travels": True}


def travels(info: TypeInfo) -> bool:
    """Say whether objects of a class, or of one of its bases, travel."""
    return any(_KEY in base.metadata for base in info.mro)


def _named_in(module: MypyFile) -> set[str]:
    """The names given to ``proxied(...)`` and ``copyreg.pickle(...)`` at the top of a module."""
    names = set()
    for statement in module.defs:
        if isinstance(statement, ExpressionStmt) and isinstance(statement.expr, CallExpr):
            call = statement.expr
            first = call.args[0] if call.args else None
            if isinstance(first, NameExpr) and _last(call) in {_DECORATOR, "pickle"}:
                names.add(first.name)
    return names


def _last(expression: Expression) -> str:
    if isinstance(expression, CallExpr):
        expression = expression.callee
    return expression.name if isinstance(expression, (NameExpr, MemberExpr)) else ""
