"""Objects whose fields name what cannot be pickled, and that can be pickled all the same."""

from __future__ import annotations

import copyreg
import dataclasses
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import InitVar, dataclass, field
from typing import IO, Any, ClassVar, Generic, Optional, TypeVar, Union

import attrs

from pipeproxy import share

from .owners import Guarded, Session, Store

T = TypeVar("T")


@dataclass
class OptionalLock:
    name: str
    lock: threading.Lock | None = None
    old: Optional[threading.RLock] = None
    either: Union[socket.socket, str] = ""
    file: IO[str] | None = None


@dataclass
class NoInstanceField:
    lock: ClassVar[threading.Lock] = threading.Lock()
    made_of: InitVar[threading.Lock | None] = None
    size: int = 0

    @property
    def guard(self) -> threading.Lock:
        return self.lock


@dataclass
class MayBeEmpty:
    locks: list[threading.Lock] = field(default_factory=list)
    by_name: dict[str, threading.Lock] = field(default_factory=dict)
    several: tuple[threading.Lock, ...] = ()


@dataclass
class Functions:
    key: Callable[[str], Any] = len
    lines: Iterator[str] | None = None
    source: Generator[int, None, None] | None = None


@dataclass
class Reduced:
    lock: threading.Lock

    def __reduce__(self) -> tuple[Any, ...]:
        return make_reduced, ()


def make_reduced() -> Reduced:
    return Reduced(threading.Lock())


@dataclass
class WithState:
    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name = state["name"]
        self.lock = threading.Lock()


class Picklable:
    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), ()


@dataclass
class Inherits(Picklable):
    lock: threading.Lock = field(default_factory=threading.Lock)


@attrs.define
class AttrsState:
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def __getstate__(self) -> tuple[Any, ...]:
        return ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.lock = threading.Lock()


@attrs.frozen
class AttrsOptional:
    lock: threading.Lock | None = None
    children: list[AttrsOptional] = attrs.field(factory=list)
    sockets: list[socket.socket] = attrs.Factory(list)


@attrs.define(slots=False)
class AttrsOld:
    _sock: socket.socket | None = attrs.field(default=None, alias="sock")


@dataclass
class Registered:
    lock: threading.Lock


copyreg.pickle(Registered, lambda registered: (make_registered, ()))


def make_registered() -> Registered:
    return Registered(threading.Lock())


class Worker(threading.Thread):
    """A thread that pickles as its name."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Worker, ()


class Connection(socket.socket):
    def __getstate__(self) -> Any:
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Connection, ()


@dataclass
class Node(Generic[T]):
    value: T
    next: Node[T] | None = None
    parent: Optional[Node[T]] = None


@dataclass
class Holder:
    session: Session
    worker: Worker | None = None


class NotADataclass:
    """Makes its lock when it is first needed."""

    lock: threading.Lock

    def __init__(self) -> None:
        self.name = ""


@dataclass(init=False)
class Late:
    """Its field is deleted before it travels."""

    lock: threading.Lock = field(init=False)


def objects() -> None:
    store, _ = share(Store())
    store.put(OptionalLock("a"))
    store.put(NoInstanceField())
    store.put(MayBeEmpty())
    store.put(Functions())
    store.put(make_reduced())
    store.put(WithState("a"))
    store.put([Inherits(), {"a": Inherits()}])
    store.put(AttrsState())
    store.put(AttrsOptional(children=[AttrsOptional()]))
    store.put(AttrsOld())
    store.put(make_registered())
    store.put(Worker())
    store.put(Connection())
    store.put(Node(3, Node(4)))
    store.put(Node[Optional[threading.Lock]](None))
    store.put(NotADataclass())
    store.put(Late())
    store.put(dataclasses.replace(OptionalLock("a"), name="b"))
    store.put(dataclasses.asdict(OptionalLock("a")))
    store.same(OptionalLock("a")).name.upper()


def by_reference() -> None:
    """Objects of decorated classes and proxies travel as references."""
    store, _ = share(Store())
    store.put(Session())
    session, _ = share(Session())
    store.put(session)
    store.put([session, {"a": session}])
    store.put(Holder(Session()))
    store.put_each([session])


def what_is_not_passed(lock: threading.Lock) -> None:
    guarded, _ = share(Guarded())
    guarded.work("a")
    guarded.work("a", None)
    guarded.work("a", lock=None)
    guarded.work_all(["a"])
    guarded.work_all(["a"], ())
    guarded.work_all(["a"], [])
    guarded.guard([], {})
    guarded.configure({"a": "b"})
    guarded.configure({})
    guarded.either(3)


def what_is_not_certain(
    lock: threading.Lock | None, either: threading.Lock | str, thing: object, anything: Any
) -> None:
    store, _ = share(Store())
    store.put(lock)
    store.put([lock])
    store.put((either, lock))
    store.put(thing)
    store.put_any(anything)
    store.put({"lock": lock})
    if lock is None:
        store.put(lock)
    if isinstance(either, str):
        store.put(either)
    guarded, _ = share(Guarded())
    guarded.work("a", lock)
    guarded.work("a", anything)


def generic(thing: T, things: list[T]) -> T:
    store, _ = share(Store())
    store.put(things)
    return store.same(thing)


def in_its_own_process(guarded: Guarded, store: Store, lock: threading.Lock) -> None:
    """The objects themselves take everything."""
    guarded.work("a", lock)
    guarded.guard([lock], {"a": lock})
    guarded.apply(lambda n: n + 1)
    guarded.feed(n for n in range(3))
    store.put(lock)
    store.put(lambda: 3)


def proxies_of_classes_without_stubs(lock: threading.Lock) -> None:
    proxy, _ = share(NotADataclass())
    proxy.name = "b"
    proxy.lock = lock
