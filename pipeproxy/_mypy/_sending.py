"""What is passed to a proxy and certainly cannot be pickled.

Certainly means: whatever happens when the program runs. Where it depends, nothing is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mypy.checker import TypeChecker
from mypy.errorcodes import ErrorCode
from mypy.expandtype import expand_type_by_instance
from mypy.maptype import map_instance_to_supertype
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
    TypeInfo,
    Var,
)
from mypy.plugin import FunctionContext, MethodContext
from mypy.types import CallableType, Instance, NoneType, TupleType, Type, UnionType, get_proper_type

from ._travelling import travels

CODE = ErrorCode("unpicklable", "Check that what is passed to proxies can be pickled", "pipeproxy")

_LOCK, _FILE, _GENERATOR = "A lock", "An open file", "A generator"
_MULTIPROCESSING = "A lock of multiprocessing, which is only inherited,"

#: What cannot be pickled, nor can its subclasses unless they say how.
_UNPICKLABLE = {
    "_thread.LockType": _LOCK,
    "_thread.lock": _LOCK,
    "_thread.RLock": _LOCK,
    "threading._RLock": _LOCK,
    "threading.Condition": _LOCK,
    "threading.Semaphore": _LOCK,
    "threading.Event": _LOCK,
    "threading.Barrier": _LOCK,
    "threading.Thread": "A thread",
    "_thread._local": "Thread-local data",
    "_threading_local.local": "Thread-local data",
    "multiprocessing.synchronize.SemLock": _MULTIPROCESSING,
    "multiprocessing.synchronize.Condition": _MULTIPROCESSING,
    "multiprocessing.synchronize.Event": _MULTIPROCESSING,
    "multiprocessing.queues.Queue": "A queue of multiprocessing, which is only inherited,",
    "multiprocessing.queues.SimpleQueue": "A queue of multiprocessing, which is only inherited,",
    "queue.Queue": "A queue",
    "_queue.SimpleQueue": "A queue",
    "queue.SimpleQueue": "A queue",
    "socket.socket": "A socket",
    "ssl.SSLContext": "An SSL context",
    "select.epoll": "A poller",
    "select.poll": "A poller",
    "_io.FileIO": _FILE,
    "_io.BufferedReader": _FILE,
    "_io.BufferedWriter": _FILE,
    "_io.BufferedRandom": _FILE,
    "_io.TextIOWrapper": _FILE,
    "tempfile._TemporaryFileWrapper": _FILE,
    "mmap.mmap": "A mapped file",
    "sqlite3.Connection": "A database connection",
    "sqlite3.Cursor": "A database cursor",
    "subprocess.Popen": "A process",
    "concurrent.futures._base.Future": "A future",
    "concurrent.futures.thread.ThreadPoolExecutor": "An executor",
    "concurrent.futures.process.ProcessPoolExecutor": "An executor",
    "typing.Generator": _GENERATOR,
    "types.GeneratorType": _GENERATOR,
    "typing.AsyncGenerator": "An async generator",
    "types.AsyncGeneratorType": "An async generator",
    "typing.Coroutine": "A coroutine",
    "types.CoroutineType": "A coroutine",
    "types.ModuleType": "A module",
    "types.FrameType": "A frame",
    "types.TracebackType": "A traceback",
    "types.CodeType": "A code object",
    "re.Match": "A match",
    "weakref.ReferenceType": "A weak reference",
    "weakref.ref": "A weak reference",
    "_contextvars.Context": "A context",
    "_contextvars.ContextVar": "A context variable",
}

#: A class that defines one of these says how it is pickled.
_HOOKS = {"__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__"}

_CONTAINERS = {
    *(f"builtins.{name}" for name in ("list", "set", "frozenset", "dict", "tuple")),
    *(f"collections.{name}" for name in ("deque", "defaultdict", "OrderedDict")),
}

_LAMBDA = "A lambda"
_FORMS = {LambdaExpr: _LAMBDA, GeneratorExpr: _GENERATOR}
_ADVICE = {
    True: "pass a function that is defined at the top level of a module",
    False: "share it and pass its proxy, or pass plain data instead",
}

#: Types are looked into so deep.
_DEPTH = 8

#: An attribute of the type of a proxy, as mypy notes attributes that were asked for by `hasattr`.
_MARK = "__pipeproxy_is_proxy__"


def check_arguments(method: str, context: MethodContext) -> Type:
    """Report every argument of a proxy's method that certainly cannot be sent."""
    api = context.api
    assert isinstance(api, TypeChecker), "hooks of calls are called by this alone"
    declared = _declared(context.type, method)
    for i, given in enumerate(context.args):
        for j, argument in enumerate(given):
            if context.arg_kinds[i][j] in (ARG_STAR, ARG_STAR2):
                continue  # its items are passed, not itself
            what = _in_expression(argument, context.arg_types[i][j], api.lookup_type_or_none)
            if (
                what is None
                and not _is_harmless(argument)
                and not _is_proxy(context.arg_types[i][j])
            ):
                what = _of_type(declared[i]) if i < len(declared) else None
            if what:
                api.fail(
                    f"{what} cannot be pickled, so no proxy takes it; {_ADVICE[what == _LAMBDA]}",
                    argument,
                    code=CODE,
                )
    return context.default_return_type


def mark_shared(context: FunctionContext | MethodContext) -> Type:
    """Note of what `share` returns that it is a proxy, where it has the type of the object."""
    result = get_proper_type(context.default_return_type)
    if isinstance(result, TupleType):
        return result.copy_modified(items=[_marked(result.items[0]), *result.items[1:]])
    return _marked(result)


def _is_proxy(kind: Type) -> bool:
    kind = get_proper_type(kind)
    return isinstance(kind, Instance) and bool(kind.extra_attrs and _MARK in kind.extra_attrs.attrs)


def _marked(kind: Type) -> Type:
    kind = get_proper_type(kind)
    if isinstance(kind, Instance) and any(b.fullname in _UNPICKLABLE for b in kind.type.mro):
        return kind.copy_with_extra_attr(_MARK, NoneType())
    return kind


def _declared(proxy: Type, method: str) -> list[Type]:
    """The types that the parameters are declared to have, none if there are overloads."""
    proxy = get_proper_type(proxy)
    node = proxy.type.get_method(method) if isinstance(proxy, Instance) else None
    if not isinstance(node, FuncDef) or not isinstance(node.type, CallableType):
        return []
    return list(node.type.arg_types[1:])


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


def _in_expression(
    node: Expression, kind: Type | None, type_of: Callable[[Expression], Type | None]
) -> str | None:
    """Say what in the value of an expression cannot be pickled."""
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
        plain = (part for part in parts if not isinstance(part, StarExpr))
        return next(filter(None, (_in_expression(p, type_of(p), type_of) for p in plain)), None)
    if isinstance(node, ConditionalExpr):
        both = [_in_expression(e, type_of(e), type_of) for e in (node.if_expr, node.else_expr)]
        return both[0] if all(both) else None
    return _of_type(kind) if kind is not None else None


def _of_type(kind: Type, depth: int = 0, may_be_empty: bool = False) -> str | None:
    """Say what of this type cannot be pickled, None if some value of it can, or may.

    Args:
        may_be_empty: whether a container of it may well have nothing in it.
    """
    kind = get_proper_type(kind)
    if depth > _DEPTH:
        return None
    if isinstance(kind, UnionType):
        each = [_of_type(item, depth + 1, may_be_empty) for item in kind.items]
        return each[0] if all(each) else None
    if isinstance(kind, TupleType):
        if _says_how(kind.partial_fallback.type, ()):
            return None
        return next(filter(None, (_of_type(item, depth + 1) for item in kind.items)), None)
    if not isinstance(kind, Instance) or _is_proxy(kind):
        return None
    for i, base in enumerate(kind.type.mro):
        if base.fullname in _UNPICKLABLE:
            sure = not travels(kind.type) and not _says_how(kind.type, kind.type.mro[i:])
            return _UNPICKLABLE[base.fullname] if sure else None
    if kind.type.fullname in _CONTAINERS:
        if may_be_empty:
            return None
        return next(filter(None, (_of_type(a, depth + 1) for a in kind.args)), None)
    if travels(kind.type) or _says_how(kind.type, ()):
        return None
    return next(filter(None, (_of_field(*f, depth + 1) for f in _fields(kind))), None)


def _of_field(kind: Type, has_default: bool, depth: int) -> str | None:
    return _of_type(kind, depth, may_be_empty=has_default)


def _fields(instance: Instance) -> Iterator[tuple[Type, bool]]:
    """Yield the types of what a dataclass or attrs class keeps, and whether it has a default."""
    info = instance.type
    for key in ("dataclass", "attrs"):
        metadata = info.metadata.get(key) or {}
        for field in metadata.get("attributes", ()):
            has_default = field.get("has_default", False)
            made = field.get("is_in_init", field.get("init", True)) or has_default
            symbol = info.get(field["name"])
            if not made or field.get("is_init_var") or symbol is None:
                continue
            if isinstance(symbol.node, Var) and symbol.node.type and symbol.node.info:
                owner = map_instance_to_supertype(instance, symbol.node.info)
                yield expand_type_by_instance(symbol.node.type, owner), has_default


def _says_how(info: TypeInfo, known: list[TypeInfo] | tuple[()]) -> bool:
    """Say whether a class, or a base that is not `known`, says how it is pickled."""
    bases = (base for base in info.mro if base not in known and base.fullname != "builtins.object")
    return any(not _HOOKS.isdisjoint(base.names) for base in bases)
