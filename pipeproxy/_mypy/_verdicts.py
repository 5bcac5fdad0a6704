"""Which types certainly have no value that can be pickled.

Certainly means: whatever happens when the program runs. Where it depends, nothing is reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from mypy.expandtype import expand_type_by_instance
from mypy.maptype import map_instance_to_supertype
from mypy.nodes import TypeInfo, Var
from mypy.types import Instance, NoneType, TupleType, Type, UnionType, get_proper_type

from ._travelling import travels

GENERATOR = "A generator"
_LOCK, _FILE = "A lock", "An open file"
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
    "typing.Generator": GENERATOR,
    "types.GeneratorType": GENERATOR,
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

#: Types are looked into so deep.
_DEPTH = 8

#: An attribute of the type of a proxy, as mypy notes attributes that were asked for by `hasattr`.
_MARK = "__pipeproxy_is_proxy__"


def is_proxy(kind: Type) -> bool:
    """Say whether a value of this type is known to be a proxy, though it has the object's type."""
    kind = get_proper_type(kind)
    return isinstance(kind, Instance) and bool(kind.extra_attrs and _MARK in kind.extra_attrs.attrs)


def marked(kind: Type) -> Type:
    """Return the type of a proxy that has the type of its object."""
    kind = get_proper_type(kind)
    if isinstance(kind, Instance) and any(b.fullname in _UNPICKLABLE for b in kind.type.mro):
        return kind.copy_with_extra_attr(_MARK, NoneType())
    return kind


class Verdicts:
    """What is certain of types; of a class it is kept until any class is analyzed again."""

    def __init__(self) -> None:
        #: By the class, and how deep it was met: it is looked into the less.
        self._known: dict[tuple[TypeInfo, int], str | None] = {}

    def forget(self) -> None:
        """Keep nothing: what a class, its bases or its fields are may change."""
        self._known.clear()

    def of_type(self, kind: Type, depth: int = 0, may_be_empty: bool = False) -> str | None:
        """Say what of this type cannot be pickled, None if some value of it can, or may.

        Args:
            may_be_empty: whether a container of it may well have nothing in it.
        """
        kind = get_proper_type(kind)
        if depth > _DEPTH:
            return None
        if isinstance(kind, Instance):
            if kind.extra_attrs and is_proxy(kind):
                return None
            if kind.args:
                return self._of_instance(kind, depth, may_be_empty)
            key = kind.type, depth
            if key not in self._known:
                self._known[key] = self._of_instance(kind, depth, may_be_empty)
            return self._known[key]
        if isinstance(kind, UnionType):
            each = [self.of_type(item, depth + 1, may_be_empty) for item in kind.items]
            return each[0] if all(each) else None
        if isinstance(kind, TupleType) and not _says_how(kind.partial_fallback.type, ()):
            return next(filter(None, (self.of_type(item, depth + 1) for item in kind.items)), None)
        return None

    def _of_instance(self, kind: Instance, depth: int, may_be_empty: bool) -> str | None:
        for i, base in enumerate(kind.type.mro):
            if base.fullname in _UNPICKLABLE:
                sure = not travels(kind.type) and not _says_how(kind.type, kind.type.mro[i:])
                return _UNPICKLABLE[base.fullname] if sure else None
        if kind.type.fullname in _CONTAINERS:
            if may_be_empty:
                return None
            return next(filter(None, (self.of_type(a, depth + 1) for a in kind.args)), None)
        if travels(kind.type) or _says_how(kind.type, ()):
            return None
        fields = (self.of_type(field, depth + 1, default) for field, default in _fields(kind))
        return next(filter(None, fields), None)


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
