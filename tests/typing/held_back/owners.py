"""The classes whose proxies the programs of this package use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Generic, TextIO, TypeVar

from pipeproxy import proxied

T = TypeVar("T")


@proxied
class Store:
    """Takes whatever it is given."""

    def __init__(self) -> None:
        self.things: list[object] = []

    def put(self, thing: object) -> int:
        self.things.append(thing)
        return len(self.things)

    def put_any(self, thing: Any) -> Any:
        return thing

    def put_all(self, *things: object, **named: object) -> int:
        return len(things) + len(named)

    def put_each(self, things: Iterable[object]) -> int:
        return len(list(things))

    def same(self, thing: T) -> T:
        return thing

    def __contains__(self, thing: object) -> bool:
        return thing in self.things

    def __getitem__(self, key: object) -> object:
        return self.things[0]

    def __setitem__(self, key: object, value: object) -> None: ...


@proxied
class Guarded:
    """Takes what can be passed in its own process only, and something else from all others."""

    def work(self, job: str, lock: threading.Lock | None = None) -> None: ...

    def work_all(self, jobs: Sequence[str], locks: Sequence[threading.Lock] = ()) -> None: ...

    def guard(self, locks: list[threading.Lock], names: dict[str, threading.Lock]) -> None: ...

    def log_to(self, file: TextIO) -> None: ...

    def read_from(self, file: IO[bytes]) -> None: ...

    def apply(self, function: Callable[[int], int], *, key: Callable[[str], Any] = len) -> None: ...

    def feed(self, items: Iterable[int] | Iterator[int] | Generator[int, None, None]) -> None: ...

    def configure(self, options: Mapping[str, threading.Lock | str]) -> None: ...

    def either(self, thing: threading.Lock | int) -> None: ...


@proxied
class Box(Generic[T]):
    """Holds one thing."""

    def __init__(self, thing: T) -> None:
        self.thing = thing

    def swap(self, thing: T) -> T:
        self.thing, thing = thing, self.thing
        return thing


@proxied
class Session:
    """Holds what cannot be pickled, and travels by reference all the same."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def name(self) -> str:
        return "session"
