"""Values of the standard library and of users that can be pickled, though some look odd."""

from __future__ import annotations

import array
import asyncio
import collections
import contextlib
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import json
import logging
import operator
import pathlib
import random
import re
import socket
import sqlite3
import string
import threading
import types
import uuid
from typing import NamedTuple, Optional, TypedDict

import numpy as np

from pipeproxy import share

from .owners import Box, Guarded, Store


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict, total=False):
    title: str
    year: int


class Lock:
    """Of a door, not of a thread."""

    def __init__(self, key: str) -> None:
        self.key = key


class Generator:
    """Of power."""

    watts = 5


def double(number: int) -> int:
    return 2 * number


def words() -> collections.abc.Iterator[str]:
    yield "a"


async def answer() -> int:
    return 42


def things(path: pathlib.Path) -> None:
    store, _ = share(Store())
    store.put(None)
    store.put(Colour.RED)
    store.put(Colour)
    store.put(Point(1, 2))
    store.put(Movie(title="M", year=1931))
    store.put(Lock("brass"))
    store.put(Generator())
    store.put([Lock("brass"), Generator()])
    store.put({"a": {"b": ({1, 2}, frozenset({3}))}})
    store.put(path)
    store.put(datetime.datetime.now(tz=datetime.timezone.utc))
    store.put(datetime.timedelta(seconds=3))
    store.put((decimal.Decimal("1.5"), fractions.Fraction(1, 3), 1j, range(5), slice(1, 2)))
    store.put(uuid.uuid4())
    store.put(re.compile("a+"))
    store.put(collections.deque([1], maxlen=5))
    store.put(collections.OrderedDict(a=1))
    store.put(collections.Counter("abc"))
    store.put(collections.defaultdict(list, {1: [2]}))
    store.put(collections.ChainMap({"a": 1}))
    store.put(array.array("d", [1.0]))
    store.put(bytearray(b"abc"))
    store.put(types.SimpleNamespace(a=1))
    store.put(logging.getLogger("name"))
    store.put(random.Random(3))
    store.put(string.Template("$a"))
    store.put(ValueError("no"))
    store.put(np.zeros(3))
    store.put(np.random.default_rng(3))
    store.put(sqlite3.Row)
    store.put(Ellipsis)
    store.put(NotImplemented)


def functions_and_classes() -> None:
    store, _ = share(Store())
    store.put(double)
    store.put(len)
    store.put(str.upper)
    store.put("a".upper)
    store.put(operator.itemgetter(1))
    store.put(functools.partial(double, 3))
    store.put(threading.Lock)
    store.put(threading.Thread)
    store.put(socket.socket)
    store.put(Lock)
    store.put([threading.Condition, io.FileIO])
    guarded, _ = share(Guarded())
    guarded.apply(double)
    guarded.apply(abs, key=str.casefold)
    guarded.apply(functools.partial(pow, 2))


def iterators_that_can_be_pickled() -> None:
    store, _ = share(Store())
    store.put(iter([1, 2]))
    store.put(iter("ab"))
    store.put(iter({1: 2}))
    store.put(iter(range(3)))
    store.put(reversed([1]))
    store.put(itertools.count())
    guarded, _ = share(Guarded())
    guarded.feed([1, 2])
    guarded.feed(iter([1, 2]))
    guarded.feed(range(3))


def generators_lambdas_and_coroutines_that_end_here() -> None:
    store, _ = share(Store())
    store.put(sum(n for n in range(3)))
    store.put(list(words()))
    store.put([n for n in range(3)])
    store.put(", ".join(w for w in words()))
    store.put_all(*(n for n in range(3)))
    store.put_all(*words())
    store.put_all(*map(str, range(3)))
    store.put_all(**{w: 1 for w in "ab"})
    store.put(next(words()))
    store.put((lambda: 3)())
    store.put(sorted([3, 1], key=lambda n: -n))
    store.put(max(words(), key=lambda w: len(w)))
    store.put(any(w for w in words()))
    store.put(asyncio.run(answer()))
    store.put({w: len(w) for w in words()})


async def awaited() -> None:
    store, _ = share(Store())
    store.put(await answer())
    store.put([await answer()])
    store.put([x async for x in counted()])


async def counted() -> collections.abc.AsyncIterator[int]:
    yield 1


def what_is_read_from_what_cannot_be_pickled(path: pathlib.Path) -> None:
    store, _ = share(Store())
    with path.open() as file:
        store.put(file.read())
        store.put(file.readlines())
        store.put(file.name)
        store.put([line.strip() for line in file])
    with socket.socket() as server:
        store.put(server.getsockname())
        store.put(server.fileno())
    with contextlib.closing(sqlite3.connect(path)) as database:
        store.put(database.execute("select 1").fetchall())
        store.put(database.total_changes)
    lock = threading.Lock()
    with lock:
        store.put(lock.locked())
    thread = threading.Thread(target=double, args=(3,))
    store.put(thread.name)
    store.put_all(thread.ident, name=thread.name)
    found = re.match("a", "abc")
    if found:
        store.put(found.group())
        store.put(found.span())
    store.put(list({"a": 1}.keys()))
    store.put(sorted({"a": 1}.items()))


def files_in_memory() -> None:
    guarded, _ = share(Guarded())
    guarded.log_to(io.StringIO())
    guarded.read_from(io.BytesIO(b"abc"))
    text: io.TextIOBase = io.StringIO("abc")
    store, _ = share(Store())
    store.put(text)
    store.put(io.StringIO(json.dumps({})))


def operators() -> None:
    store, _ = share(Store())
    assert 3 in store
    assert Lock("brass") not in store
    store["a"] = store["b", 3]
    store[1:2] = [None]


def boxes() -> None:
    box, _ = share(Box(3))
    box.swap(4)
    box.thing = 5
    text, _ = share(Box[str | None]("a"))
    text.swap(None)
    maybe, _ = share(Box[Optional[threading.Lock]](None))
    maybe.swap(None)
