"""What is known of the classes of the standard library, as `proxied` would be told it.

They are known by their names, so that none of their modules is loaded. What users say of one of
them, or of a subclass, comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from types import FunctionType
from typing import Any, Final

from ._options import Options, options_of
from ._survey import Survey, path_of


def _says(
    hide: str = "",
    by_ref: str = "",
    dispatch: Any = None,
    home: Any = None,
    expose: tuple[str, ...] | None = None,
) -> Options:
    return Options(expose, tuple(hide.split()), (), tuple(by_ref.split()), dispatch, home)


_CALLABLE: Final = _says(expose=("__call__",))
_FILE: Final = _says("detach fileno buffer raw readinto readinto1 getbuffer")
_NAMESPACE: Final = _says()

_KNOWN: Final = {
    "builtins.dict": _says("fromkeys"),
    "builtins.function": _CALLABLE,
    "builtins.builtin_function_or_method": _CALLABLE,
    "builtins.method": _CALLABLE,
    "builtins.method-wrapper": _CALLABLE,
    "functools.partial": _CALLABLE,
    "functools._lru_cache_wrapper": _CALLABLE,
    "types.SimpleNamespace": _NAMESPACE,
    "multiprocessing.managers.Namespace": _NAMESPACE,
    "_thread.lock": _says("acquire_lock release_lock locked_lock", dispatch="threads"),
    "_thread.RLock": _says(dispatch="threads"),
    "threading._RLock": _says(dispatch="threads"),
    "threading.Semaphore": _says(dispatch="threads"),
    "threading.Condition": _says("notifyAll", dispatch="threads"),
    "threading.Event": _says("isSet", dispatch="threads"),
    "threading.Barrier": _says(dispatch="threads"),
    "_queue.SimpleQueue": _says(dispatch="threads"),
    "queue._PySimpleQueue": _says(dispatch="threads"),
    "queue.Queue": _says(
        "mutex not_empty not_full all_tasks_done unfinished_tasks queue is_shutdown",
        dispatch="threads",
    ),
    "sqlite3.Connection": _says(
        "__call__ Warning Error InterfaceError DatabaseError DataError OperationalError "
        "IntegrityError InternalError ProgrammingError NotSupportedError",
        by_ref="cursor execute executemany executescript blobopen",
        home="queue",
    ),
    "sqlite3.Cursor": _says(by_ref="execute executemany executescript connection", home="queue"),
    "_io._IOBase": _FILE,
    "_io._BufferedIOBase": _FILE,
    "_io._TextIOBase": _FILE,
    "_io.TextIOWrapper": _FILE,
    "_io.FileIO": _FILE,
    "_io.BytesIO": _FILE,
    "logging.Filterer": _says("filters filter addFilter removeFilter"),
    "logging.Logger": _says(
        "manager root parent handlers addHandler removeHandler callHandlers handle findCaller "
        "makeRecord getChildren fatal warn",
        by_ref="getChild",
    ),
}

#: Where what is called in the place of an object is found.
_STANDS: Final = {
    "_thread.lock": ("_primitives", "Lock"),
    "_thread.RLock": ("_primitives", "RLock"),
    "threading._RLock": ("_primitives", "RLock"),
    "pipeproxy._stands._reentrant.RLock": ("_waits", "Hurried"),
    "threading.Semaphore": ("_primitives", "Semaphore"),
    "threading.BoundedSemaphore": ("_primitives", "Semaphore"),
    "threading.Condition": ("_primitives", "Condition"),
    "threading.Event": ("_primitives", "Event"),
    "threading.Barrier": ("_primitives", "Barrier"),
    "_queue.SimpleQueue": ("_queues", "SimpleQueue"),
    "queue._PySimpleQueue": ("_queues", "SimpleQueue"),
    "queue.Queue": ("_queues", "Queue"),
    "queue.LifoQueue": ("_queues", "LifoQueue"),
    "queue.PriorityQueue": ("_queues", "PriorityQueue"),
    "pipeproxy._managed._registry.HurriedHandle": ("_waits", "Hurried"),
}

#: What a stand has beside the methods of what it stands for.
_BESIDE: Final = frozenset({"give_back", "may_go_on"})


def options_for(survey: Survey) -> list[Options]:
    """Return what was said of a class and its bases, the nearest first."""
    return list(_options_for(survey))


def _options_for(survey: Survey) -> Iterator[Options]:
    there = survey.definitions | survey.fields
    for cls in survey.lineage:
        said, known = options_of(cls), _KNOWN.get(".".join(path_of(cls)))
        if said:
            yield said
        if known and not (said and said.expose is not None):
            yield known._replace(
                hide=tuple(name for name in known.hide if name in there),
                by_ref=tuple(name for name in known.by_ref if name in there),
            )


def complete(survey: Survey) -> None:
    """Add to what a class defines what stands for it, and is called in its place."""
    if any(_KNOWN.get(".".join(path_of(cls))) is _NAMESPACE for cls in survey.lineage):
        survey.dynamic = True  # it has no member of its own, and any that it is given
    found = _stand_of(survey.cls)
    if found is None:
        return
    for name, function in _instead(survey.cls, *found).items():
        survey.definitions.setdefault(name, []).insert(0, function)
        survey.methods.add(name)


def stand_for(cls: type[Any]) -> Callable[[Any], Any] | None:
    """Return what makes what is called in the place of an object of a class, if anything is."""
    found = _stand_of(cls)
    if found is None:
        return None
    base, kind = found
    if base is cls:
        return kind
    instead = frozenset(_instead(cls, base, kind))
    return lambda target: Mixed(target, kind(target), instead)


class Mixed:
    """What is called for an object: some methods of a stand of it, and else its own."""

    def __init__(self, target: Any, stand: Any, instead: frozenset[str]) -> None:
        def pick(name: str) -> Any:
            return getattr(stand if name in instead else target, name)

        object.__setattr__(self, "_pick", pick)

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, "_pick")(name)


def _stand_of(cls: type[Any]) -> tuple[type[Any], type[Any]] | None:
    """Return the nearest known class of a class's, and what stands for that."""
    for base in type.__getattribute__(cls, "__mro__"):
        found = _STANDS.get(".".join(path_of(base)))
        if found is not None:
            room, name = found
            return base, getattr(import_module(f".._stands.{room}", __package__), name)
    return None


def _instead(cls: type[Any], base: type[Any], kind: type[Any]) -> dict[str, FunctionType]:
    """Return the methods of a stand that are not overridden by a subclass of what it stands for."""
    methods: dict[str, FunctionType] = {}
    for part in reversed(kind.__mro__):
        for name, value in vars(part).items():
            public = not name.startswith("_") or name in ("__enter__", "__exit__")
            if public and isinstance(value, FunctionType) and name not in _BESIDE:
                methods[name] = value
    return {
        name: function
        for name, function in methods.items()
        if getattr(cls, name, None) is getattr(base, name, None)
    }
