"""mypy with pipeproxy's plugin: what it refuses, above all what certainly cannot be pickled."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextvars
import io
import multiprocessing
import queue
import re
import socket
import sqlite3
import subprocess
import threading
import weakref
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import attrs

from pipeproxy import share, spawn
from pipeproxy_proxies.tests.typing.held_back.owners import GuardedProxy, StoreProxy
from tests.typing.cases.zoo import Account, Loud, Shelf
from tests.typing.held_back.owners import Box

T = TypeVar("T")


def proxies_show_no_more_than_they_do() -> None:
    proxy, listener = share(Account("ada"))
    proxy.wipe()  # E: attr-defined |
    proxy._secret  # E: attr-defined |
    proxy.number = 3  # E: misc |
    proxy.transfer(proxy).no_such_method()  # E: attr-defined |
    listener.share(Account("bob")).no_such_method()  # E: attr-defined |
    spawn(Account, "ada")[0].no_such_method()  # E: attr-defined |
    share(Loud("ada"))[0].no_such_method()  # E: attr-defined |
    share(Shelf({"a": 3}))[0]["a"].no_such_method()  # E: attr-defined |


class Name(NamedTuple):
    text: str
    lock: threading.Lock


@dataclass
class Job:
    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Later(Job):
    after: Job | None = None


@dataclass
class Both:
    either: threading.Lock | socket.socket


@dataclass
class Deep:
    jobs: tuple[int, Job]


@dataclass
class Many:
    locks: list[threading.Lock]


@dataclass
class Held(Generic[T]):
    value: T


@attrs.define
class Server:
    sock: socket.socket
    name: str = ""


@attrs.frozen
class Servers:
    by_name: dict[str, Server]


class MyThread(threading.Thread):
    pass


def numbers() -> Generator[int, None, None]:
    yield 1


async def counted() -> AsyncGenerator[int, None]:
    yield 1


async def answer() -> int:
    return 42


def what_python_itself_cannot_pickle(store: StoreProxy) -> None:
    database = sqlite3.connect(":memory:")
    store.put(threading.Lock())  # E: unpicklable |
    store.put(threading.RLock())  # E: unpicklable |
    store.put(_thread.allocate_lock())  # E: unpicklable |
    store.put(threading.Condition())  # E: unpicklable |
    store.put(threading.Event())  # E: unpicklable |
    store.put(threading.Semaphore())  # E: unpicklable |
    store.put(threading.Barrier(2))  # E: unpicklable |
    store.put(threading.Thread())  # E: unpicklable |
    store.put(threading.local())  # E: unpicklable |
    store.put(threading)  # E: unpicklable |
    store.put(multiprocessing.Lock())  # E: unpicklable |
    store.put(multiprocessing.Event())  # E: unpicklable |
    store.put(multiprocessing.Queue())  # E: unpicklable |
    store.put(queue.Queue())  # E: unpicklable |
    store.put(queue.SimpleQueue())  # E: unpicklable |
    store.put(socket.socket())  # E: unpicklable |
    store.put(database.cursor())  # E: unpicklable |
    store.put(database)  # E: unpicklable |
    store.put(open("/dev/null"))  # E: unpicklable |
    store.put(open("/dev/null", "rb"))  # E: unpicklable |
    store.put(io.FileIO("/dev/null"))  # E: unpicklable |
    store.put(subprocess.Popen("true"))  # E: unpicklable |
    store.put(concurrent.futures.Future())  # E: unpicklable |
    store.put(concurrent.futures.ThreadPoolExecutor())  # E: unpicklable |
    store.put(weakref.ref(store))  # E: unpicklable |
    store.put(contextvars.copy_context())  # E: unpicklable |
    store.put(memory := threading.Lock())  # E: unpicklable |
    del memory


def functions_and_generators(store: StoreProxy, guarded: GuardedProxy) -> None:
    found = re.match("a", "a")
    assert found
    store.put(lambda: 3)  # E: unpicklable |
    store.put(n for n in range(3))  # E: unpicklable |
    store.put(numbers())  # E: unpicklable |
    store.put(counted())  # E: unpicklable |
    store.put(answer())  # E: unpicklable |
    store.put(found)  # E: unpicklable |
    guarded.apply(lambda n: n)  # E: unpicklable |
    guarded.apply(abs, key=lambda text: text)  # E: unpicklable |
    guarded.feed(n for n in range(3))  # E: unpicklable |
    guarded.feed(numbers())  # E: unpicklable |


def inside_of_others(store: StoreProxy) -> None:
    job, locks, either = Job("a"), [threading.Lock()], Both(threading.Lock())
    store.put([threading.Lock()])  # E: unpicklable |
    store.put((1, {"a": threading.Lock()}))  # E: unpicklable |
    store.put({lambda: 3})  # E: unpicklable |
    store.put([*locks, threading.Lock()])  # E: unpicklable |
    store.put(locks)  # E: unpicklable |
    store.put({"locks": locks})  # E: unpicklable |
    store.put(Name("a", threading.Lock()))  # E: unpicklable |
    store.put(job)  # E: unpicklable |
    store.put([job])  # E: unpicklable |
    store.put(Later("a"))  # E: unpicklable |
    store.put(either)  # E: unpicklable |
    store.put(Deep((1, job)))  # E: unpicklable |
    store.put(Many(locks))  # E: unpicklable |
    store.put(Held(threading.Lock()))  # E: unpicklable |
    store.put(Server(socket.socket()))  # E: unpicklable |
    store.put(Servers({"a": Server(socket.socket())}))  # E: unpicklable |
    store.put(MyThread())  # E: unpicklable |
    store.put(job if locks else threading.Lock())  # E: unpicklable |
    store.put_all(1, job, name=job)  # E: unpicklable |
    store.put_any(job)  # E: unpicklable |
    store.same(job)  # E: unpicklable |


def where_they_are_passed(
    store: StoreProxy, guarded: GuardedProxy, lock: threading.Lock, anything: Any
) -> None:
    guarded.work("a", lock)  # E: unpicklable |
    guarded.work("a", lock=lock)  # E: unpicklable |
    guarded.work_all(["a"], [lock])  # E: unpicklable |
    guarded.guard(anything, {})  # E: unpicklable |
    guarded.guard([], names=anything)  # E: unpicklable |
    store[lock]  # E: unpicklable |
    store["a"] = lock  # E: unpicklable |
    lock in store  # E: unpicklable |
    share(Box(lock))[0].swap(lock)  # E: unpicklable |
    asyncio.run(answer())
