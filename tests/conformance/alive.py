"""A shop whose parts are alive, and functions that visit it from other processes.

Every child imports this module, so it loads no pytest.
"""

from __future__ import annotations

import gc
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import count, islice
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

from pipeproxy import CallLost, CallTimeout, CodecError, by_reference, by_value, proxied, timeout
from pipeproxy._proxies._proxy import Proxy
from pipeproxy._references._lent import lending
from tests.support import Interrupted, fork, in_fork, interrupt, is_readable


class NodeError(Exception):
    def __init__(self, node: Node) -> None:
        super().__init__("it refuses", node)
        self.node = node


@proxied
class Node:
    def __init__(self, name: str) -> None:
        self.name = name

    def rename(self, name: str) -> str:
        self.name = name
        return name

    def fail(self) -> None:
        raise NodeError(self)


class Book:
    """Of a class that travels as a copy."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)


@proxied(by_ref=("book",))
class Shop:
    def __init__(self) -> None:
        self.nodes = {"a": Node("a"), "b": Node("b")}
        self.first = self.nodes["a"]
        self.book = Book()
        self.given = self.closed = 0
        self.ends = False
        self._told, self.tell = os.pipe()

    def node(self, name: str) -> Node:
        return self.nodes[name]

    def fresh(self) -> Node:
        return Node("fresh")

    def many(self, number: int) -> list[Node]:
        return [Node(str(n)) for n in range(number)]

    def everywhere(self) -> dict[str, Any]:
        a = self.nodes["a"]
        return {"list": [a, [a]], "tuple": (a, 1), "error": NodeError(a), "dict": {"b": {"a": a}}}

    def late(self, *args: Any) -> list[Node]:
        """Return only when somebody was told so."""
        assert is_readable(self._told)
        os.read(self._told, 1)
        return self.many(3)

    @by_reference
    def lock(self) -> Any:
        return threading.Lock()

    def pages(self) -> Book:
        return self.book

    def copy(self, name: str) -> Node:
        return by_value(self.nodes[name])

    def is_itself(self, name: str, value: Any, within: Any = None) -> bool:
        found = value if within is None else value[within]
        return found is self.nodes[name]

    def kind(self, value: Any) -> str:
        return type(value).__name__

    def stay_silent(self) -> None: ...

    def stream(self, stop: int | None = None, fail: int | None = None) -> Iterator[Node]:
        """Give nodes; count how many and how often it was closed."""
        try:
            for number in count():
                if number == stop:
                    return
                if number == fail:
                    raise NodeError(self.nodes["a"])
                self.given += 1
                yield Node(str(number))
        finally:
            self.closed += 1

    def echo(self) -> Any:
        """Give back what is thrown in; end with how often that was."""
        thrown = 0
        while thrown < 3:
            try:
                yield thrown
            except ValueError as error:
                thrown += 1
                yield error.args
        return "thrown", thrown

    def close(self) -> None:
        os.close(self._told)
        os.close(self.tell)


def raised_by(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


def settle(shop: Shop) -> None:
    """Drop all garbage, and let the owner know of it."""
    gc.collect()
    shop.stay_silent()


# Identity ----------------------------------------------------------------------------------------


def arrivals_are_one(shop: Shop) -> None:
    a = shop.node("a")
    assert issubclass(type(a), Proxy)
    assert isinstance(a, Node)
    assert shop.node("a") is a
    assert shop.first is a
    assert shop.node("b") != a
    found = shop.everywhere()
    for each in (
        found["list"][0],
        found["list"][1][0],
        found["tuple"][0],
        found["dict"]["b"]["a"],
        found["error"].node,
        found["error"].args[1],
    ):
        assert each is a
    error: Any = raised_by(a.fail)
    assert error.node is a
    assert error.args == ("it refuses", a)
    [given] = shop.stream(stop=1)
    assert given.name == "0"
    assert given.rename("renamed") == given.name == "renamed"
    assert len({a, shop.node("a"), shop.node("b"), given}) == 3


def what_comes_home_is_itself(shop: Shop) -> None:
    a = shop.node("a")
    assert shop.is_itself("a", a)
    assert shop.is_itself("a", value=a)
    assert shop.is_itself("a", [0, a], 1)
    assert shop.is_itself("a", {"key": a}, within="key")
    assert not shop.is_itself("a", shop.node("b"))
    shop.first = shop.node("b")
    assert shop.is_itself("b", shop.first)
    shop.first = a


def options_choose(shop: Shop) -> None:
    assert shop.book.write("one") == 1
    assert shop.book.write("two") == 2
    assert shop.pages().lines == ["one", "two"]  # a copy...
    shop.pages().write("lost")
    assert len(shop.pages().lines) == 2
    lock = shop.lock()
    assert lock.acquire(False)
    assert not lock.acquire(False)
    lock.release()
    copy = shop.copy("a")
    assert type(copy) is Node
    copy.rename("not seen")
    assert shop.node("a").name == "a"
    assert shop.kind(by_value(Node("mine"))) == "Node"


# Lifetimes ---------------------------------------------------------------------------------------

kept: list[Any] = []


def keep(shop: Shop, number: int) -> None:
    """Hold so many objects that exist for this process only."""
    kept.extend(shop.many(number))


def drop(shop: Shop, number: int) -> None:
    del kept[len(kept) - number :]
    shop.stay_silent()


def use(shop: Shop) -> list[str]:
    return [node.name for node in kept]


def come_and_go(shop: Shop, collecting: bool) -> None:
    """Meet everything and keep nothing; without a collector all has to end by itself."""
    (gc.enable if collecting else gc.disable)()
    try:
        for _ in range(5):
            shop.everywhere(), shop.book, shop.lock(), shop.many(20)
            assert shop.node("a") is shop.first
            assert len(list(shop.stream(stop=30))) == 30
            next(iter(shop.stream()))
            try:
                shop.node("a").fail()
            except NodeError:
                pass
        shop.stay_silent()
    finally:
        gc.enable()


def proxies_die_at_once(shop: Shop) -> None:
    gc.disable()
    try:
        node = shop.node("a")
        dies = weakref.ref(node)
        try:
            node.fail()
        except NodeError:
            pass
        del node
        assert dies() is None
    finally:
        gc.enable()


def send(shop: Shop) -> bytes:
    """Return a pickle of an object that nobody holds but by it."""
    pickled = pickle.dumps([shop.fresh()])
    settle(shop)
    return pickled


def receive(shop: Shop, pickled: bytes) -> str:
    [node] = pickle.loads(pickled)
    kept.append(node)
    return node.rename("received")


def pass_to_a_grandchild(shop: Shop, method: str) -> int:
    """Let a child of this child use an object that only this one holds, and then does not."""
    node = shop.fresh()
    reader, writer = get_context(method).Pipe(duplex=False)
    child: BaseProcess = get_context(method).Process(target=_rename, args=(node, reader))
    child.start()
    reader.close()
    del node
    settle(shop)
    writer.send("go")
    writer.close()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _rename(node: Node, go: Any) -> None:
    assert go.recv() == "go"
    assert node.rename("by a grandchild") == node.name == "by a grandchild"


def drop_what_a_forked_child_has(shop: Shop) -> None:
    """Fork while holding an object; drop it here; the child goes on with it."""
    nodes = [shop.fresh(), shop.fresh()]
    streams = [iter(shop.stream(stop=200))]
    names = [next(streams[0]).name for _ in range(3)]
    reader, writer = os.pipe()

    def child() -> None:
        assert is_readable(reader)
        assert [node.rename("by a child") for node in nodes] == ["by a child"] * 2
        names.extend(node.name for node in streams[0])
        assert names == [str(n) for n in range(200)]

    pid = fork(child)
    nodes.clear()
    streams.clear()
    settle(shop)
    os.write(writer, b"x")
    os.close(reader)
    os.close(writer)
    assert os.waitpid(pid, 0)[1] == 0


def hold_until_killed(shop: Shop, ready: Any, seed: int) -> None:
    """Hold nested references and live streams; every second one also goes on to get more."""
    held: list[Any] = [shop.many(5), shop.everywhere(), shop.book, shop.lock(), shop.fresh()]
    streams = [iter(shop.stream()) for _ in range(2)]
    held.append([next(stream) for stream in streams])
    pickle.dumps(held[0])
    ready.send(True)
    while seed % 2:
        held[:] = [shop.many(3), list(islice(streams[0], 20)), shop.everywhere()]
    threading.Event().wait()


def be_interrupted(shop: Shop, rounds: int) -> int:
    """Let a signal handler raise at random moments of calls that bring references."""

    def call() -> None:
        nodes = shop.many(3)
        assert shop.everywhere()["tuple"][0] is shop.node("a")
        for node in shop.stream(stop=3):
            nodes.append(node)
        nodes[0].rename("interrupted")

    return interrupt(call, rounds=rounds, longest=2e-3)


def time_out(shop: Shop, tell: int) -> None:
    """Give calls up whose late replies carry references."""
    for _ in range(5):
        try:
            with timeout(0.02):
                shop.late()
        except CallTimeout:
            os.write(tell, b"x")
        else:
            raise AssertionError("it was told nothing")


def lend_and_give_up(shop: Shop) -> list[int]:
    """Lend objects with calls of every end; return how many are lent afterwards, each time."""
    lent = []
    for end in (_lend_well, _lend_late, _lend_and_fail_to, _lend_before_there_is_a_channel):
        for _ in range(20):
            end(shop)
        settle(shop)
        settle(shop)  # what the owner said with the first reply was heard
        lent.append(len(lending()._objects))
    return lent


def _lend_well(shop: Shop) -> None:
    assert shop.kind([Node("mine"), Node("mine")]) == "list"


def _lend_late(shop: Shop) -> None:
    tell = shop.tell
    with timeout(0.02):
        assert type(raised_by(lambda: shop.late(Node("mine")))) is CallTimeout
    os.write(tell, b"x")


def _lend_and_fail_to(shop: Shop) -> None:
    assert type(raised_by(lambda: shop.kind([Node("mine"), lambda: None]))) is CodecError


def _lend_before_there_is_a_channel(shop: Shop) -> None:
    def lend() -> None:
        try:
            with timeout(1e-9):
                shop.kind(Node("mine"))
        except CallTimeout:
            pass  # nearly always

    thread = threading.Thread(target=lend)
    thread.start()
    thread.join()


def lend_and_be_interrupted(shop: Shop, rounds: int) -> tuple[int, int]:
    """Let a signal handler raise at random moments of calls that lend; return how many are lent."""

    def call() -> None:
        try:
            shop.kind([Node("mine"), Node("mine")])
        except CodecError:
            pass  # so it tells of what a handler raises while it pickles

    raised = interrupt(call, rounds=rounds, longest=1.5e-3)
    settle(shop)
    settle(shop)
    return raised, len(lending()._objects)


def call_until_it_ends(shop: Shop) -> None:
    """Call an owner that cuts channels, for as long as it does."""
    ends = False
    while not ends:
        try:
            nodes = shop.many(3)
            nodes.extend(shop.stream(stop=3))
            nodes.append(shop.everywhere()["list"][0])
            ends = shop.ends
        except (CallLost, CodecError, Interrupted):
            pass  # its channel was cut, or what it called was interrupted


# Streams -----------------------------------------------------------------------------------------


def streams_are_lazy(shop: Shop) -> None:
    stream = iter(shop.stream())
    given = shop.given
    assert next(stream).name == "0"
    assert 1 <= shop.given - given <= 16
    assert [node.name for node in islice(stream, 5000)] == [str(n) for n in range(1, 5001)]
    assert shop.given - given <= 5001 + 2 * 4096


def _closed_by(shop: Shop, end: Callable[[Any], object]) -> int:
    before = shop.closed
    stream: Any = iter(shop.stream())
    next(stream)
    assert shop.closed == before
    end(stream)
    del stream
    return shop.closed - before


def streams_are_closed(shop: Shop) -> None:
    assert _closed_by(shop, lambda stream: stream.close()) == 1
    assert _closed_by(shop, lambda stream: None) == 1
    stream: Any = iter(shop.stream())
    stream.close()
    stream.close()
    assert list(stream) == []


def streams_end_as_generators_do(shop: Shop) -> None:
    _end_streams(shop)
    settle(shop)  # an exception in the owner holds the frames that it came through


def _end_streams(shop: Shop) -> None:
    stream: Any = shop.echo()
    assert next(stream) == 0
    assert stream.throw(ValueError("a", 1)) == ("a", 1)
    assert next(stream) == 1
    assert stream.throw(ValueError("b")) == ("b",)
    assert next(stream) == 2
    assert stream.throw(ValueError("c")) == ("c",)

    def rest() -> Iterator[Any]:
        ended.append((yield from stream))

    ended: list[Any] = []
    assert list(rest()) == []
    assert ended == [("thrown", 3)]

    names: list[str] = []
    stream = shop.stream(fail=20)
    error: Any = raised_by(lambda: names.extend(node.name for node in stream))
    assert error.node is shop.node("a")
    assert names == [str(n) for n in range(20)]

    stream = shop.stream(stop=20)
    next(stream)
    assert type(raised_by(lambda: stream.throw(KeyError("no")))) is KeyError
    assert list(stream) == []  # also what had come already


def streams_are_taken_from_once(shop: Shop) -> None:
    """Whoever falls behind a process that takes from the same stream is told."""
    stream = iter(shop.stream())
    next(stream)

    def child() -> None:
        assert [node.name for node in islice(stream, 1000)] == [str(n) for n in range(1, 1001)]

    in_fork(child)
    names: list[str] = []
    error = raised_by(lambda: names.extend(node.name for node in stream))
    assert "two processes" in str(error)
    assert names == [str(n) for n in range(1, len(names) + 1)]


def iterate(items: Any, size: int) -> None:
    assert list(items) == list(range(size))
