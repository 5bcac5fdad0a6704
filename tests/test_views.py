"""Views: what arrives without a copy is a snapshot, and stays as it is while it is kept."""

from __future__ import annotations

import array
import asyncio
import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import pytest

from pipeproxy import (
    aio,
    batched,
    blocking,
    by_ref,
    by_value,
    by_view,
    notify,
    oneway,
    proxied,
    share,
    spawn,
    submit,
)
from pipeproxy._channels._channel import Channel
from pipeproxy._channels._parcels import BULK_FROM
from pipeproxy._client import _pool
from pipeproxy._proxies._proxy import link_of
from pipeproxy._system import _buffers

from .children import Child, outcome, poll_until, run
from .support import fork, interrupt
from .test_bulk import LIBRARIES, VALUES, describe, mapped

MIB = 1 << 20
#: Elements of 8 bytes that are bulk.
MANY = BULK_FROM // 8

linux = pytest.mark.skipif(sys.platform != "linux", reason="what is mapped cannot be seen")


class Store:
    """What shows an array of its own, and keeps what it is shown."""

    def __init__(self) -> None:
        self.own = np.arange(4.0 * MANY)
        self.kept: list[Any] = []

    def show(self) -> Any:
        return by_view(self.own)

    def show_all(self, count: int) -> Iterator[Any]:
        for number in range(count):
            yield by_view(np.full(MANY, float(number)))

    def copy(self) -> Any:
        return self.own

    def change(self) -> None:
        self.own[:] = -1.0

    def echo(self, value: Any) -> Any:
        return value

    def show_again(self, value: Any) -> Any:
        return by_view(value)

    def keep(self, value: Any) -> bool:
        """Whether it was one that can be changed."""
        self.kept.append(value)
        return not is_read_only(value)

    def total(self, value: Any) -> float:
        return float(np.sum(value))

    def double(self, value: Any) -> Any:
        return 2 * value

    def totals(self) -> list[float]:
        return [float(np.sum(value)) for value in self.kept]

    def forget(self) -> None:
        self.kept.clear()

    def fail(self, value: Any) -> None:
        raise ValueError("it is wrong", float(np.sum(value)))

    def apply(self, function: Callable[[Any], Any], value: Any) -> Any:
        answer = function(by_view(value))
        return by_view(answer)

    def ask(self, function: Callable[[Any], Any], mine: Any) -> float:
        """Let it be answered while the caller's own argument is viewed here."""
        answer = function(np.full(2 * MANY, 9.0))
        return float(np.sum(mine)) + float(np.sum(answer))

    def fork(self, value: Any) -> int:
        """Fork while there is a view, and return the child, which looks at it when it is told."""
        reads, writes = os.pipe()

        def child() -> None:
            os.read(reads, 1)
            assert (value == 1.0).all()

        self.told = writes
        return fork(child)

    def tell(self, pid: int) -> int:
        os.write(self.told, b".")
        return os.waitpid(pid, 0)[1]

    def segments(self) -> int:
        return mapped()

    def pid(self) -> int:
        return os.getpid()


@pytest.fixture(autouse=True)
def _nothing_is_viewed_between_tests() -> Iterator[None]:
    gc.collect()  # a listener is in cycles, and with it its objects and what they keep
    yield
    gc.collect()


def is_read_only(value: Any) -> bool:
    return value.readonly if isinstance(value, memoryview) else not value.flags.writeable


def pool_of(proxy: Any) -> Any:
    return link_of(proxy).call.func.__self__._pool  # type: ignore[attr-defined]


def is_over(view: Any) -> bool:
    """Whether an array lies in memory that its sender has too, and not in a copy."""
    while isinstance(view, np.ndarray):
        view = view.base
    segments = [known() for known in _pool._made]
    return any(segment is not None and segment.memory is view.obj for segment in segments)


# What arrives -------------------------------------------------------------------------------------


SHOWN: dict[str, Callable[[], Any]] = {
    "C": lambda: np.arange(4.0 * MANY).reshape(4, -1),
    "F": lambda: np.asfortranarray(np.arange(4.0 * MANY).reshape(4, -1)),
    "strided": lambda: np.arange(4.0 * MANY).reshape(2, -1)[:, ::2],
    "structured": lambda: np.zeros(MANY, dtype=[("a", "i4"), ("b", "f8"), ("c", "S3")]),
    "big-endian": lambda: np.arange(MANY, dtype=">f8"),
    "strings": lambda: np.array(["a", "bcd"] * MANY),
    "small": lambda: np.arange(3.0),
    "small strided": lambda: np.arange(6.0)[::2],
    "empty": lambda: np.zeros((0, 3, MANY)),
    "no dimension": lambda: np.array(1.5),
    "read-only already": lambda: np.frombuffer(bytes(8 * MANY)),
    "bytes": lambda: os.urandom(3 * MIB),
    "small bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(os.urandom(3 * MIB)),
    "memoryview": lambda: memoryview(bytearray(3 * MIB)),
    "array": lambda: array.array("d", range(MANY)),
}


def differing(proxy: Any, names: list[str]) -> list[str]:
    """Return what does not arrive as what it was, or can be changed."""
    found = []
    for name in names:
        value = SHOWN[name]()
        said = by_view(value)
        for _ in range(2):  # the first time, nothing is at hand for the reply
            ways = [proxy.show_again(value), proxy.echo({"in": [said]})["in"][0]]
            ways += [proxy.echo((said, said))[1], proxy.show_again(said)]
            for came in ways:
                same = np.array_equal(np.asarray(came), np.asarray(memoryview(value)))
                if not (same and is_read_only(came)):
                    found.append(name)
    return found


def test_what_arrives_is_what_was_sent_and_can_be_read_only(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, differing, proxy, list(SHOWN)) == []


def show_libraries(proxy: Any, names: list[str]) -> list[bool]:
    """Whether what arrives is the same, read only or, as tensors cannot be that, a copy."""
    found = []
    for name in names:
        value = VALUES[name]()
        for came in (proxy.show_again(value), proxy.show_again(value), proxy.echo(by_view(value))):
            found.append(describe(came) == describe(value))
            if name == "pandas":
                found.append(not came["x"].to_numpy().flags.writeable)
            if name == "torch":
                came["whole"][:] = 5
    return found


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items(), ids=LIBRARIES)
def test_what_libraries_keep_can_be_shown(context: BaseContext, name: str, library: str) -> None:
    pytest.importorskip(library)
    proxy, listener = share(Store())
    with listener:
        assert all(run(context, listener, show_libraries, proxy, [name]))


def mixed(proxy: Any) -> list[Any]:
    one = np.ones(MANY)
    view, copied, again = proxy.echo([by_view(one), one, by_value(one)])
    parts = proxy.echo(by_view({"a": one, "b": [b"bytes", "text", 5, one]}))
    return [
        *map(is_read_only, (view, copied, again, parts["a"])),
        parts["a"] is parts["b"][3],
        parts["b"][:3],
    ]


def test_only_what_it_is_said_of_is_a_view() -> None:
    proxy, listener = share(Store())
    with listener:
        came = run("fork", listener, mixed, proxy)
    assert came == [True, False, False, True, True, [b"bytes", "text", 5]]


def test_at_home_it_is_the_array_itself() -> None:
    store = Store()
    proxy, listener = share(store)
    with listener:
        assert proxy.show() is store.own
        assert proxy.echo(by_view(store.own)) is store.own


# As it was, for as long as it is kept -------------------------------------------------------------


def keep_and_go_on(proxy: Any) -> dict[str, Any]:
    proxy.show()  # the first comes in line
    view = proxy.show()
    seen: dict[str, Any] = {"over it": is_over(view)}
    part = view.reshape(4, -1)[:, ::3]
    first = view.copy()
    del view
    proxy.change()
    others = [proxy.show() for _ in range(3)]
    for number in range(5):  # whatever memory is at hand
        proxy.echo(np.full(4 * MANY, float(number)))
    seen["as it was"] = bool((part == first.reshape(4, -1)[:, ::3]).all())
    seen["changed"] = all(bool((each == -1.0).all()) for each in others)
    with pytest.raises(ValueError, match="read-only"):
        part[0, 0] = 5
    with pytest.raises(ValueError, match="WRITEABLE"):
        part.flags.writeable = True
    return seen


def test_a_view_is_a_snapshot_and_so_is_what_was_derived_from_it(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, keep_and_go_on, proxy) == {
            "over it": True,
            "as it was": True,
            "changed": True,
        }


def use_again(proxy: Any) -> list[int]:
    """Return how much memory there is when views are kept, and when they are not."""
    inherited = mapped()
    for _ in range(5):
        proxy.show()
    counts = [mapped()]
    kept = [proxy.show() for _ in range(4)]
    counts.append(mapped())
    pieces = [view[:1] for view in kept]
    kept.clear()
    proxy.show()
    counts.append(mapped())
    pieces.clear()
    for _ in range(5):
        kept = [proxy.show() for _ in range(4)]
    counts.append(mapped())
    return [count - inherited for count in counts]


@linux
def test_memory_is_used_again_when_the_last_that_was_derived_is_gone(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        once, kept, pieces, again = run(context, listener, use_again, proxy)
    assert once == 1
    assert kept == 4
    assert pieces <= 5
    assert again <= 8  # four that are kept as four others come


_kept: list[Any] = []


def keep(proxy: Any) -> bool:
    proxy.show()
    _kept.extend(proxy.show() for _ in range(3))
    return all(map(is_over, _kept))


def sums_of_kept() -> list[float]:
    gc.collect()
    return [float(each.sum()) for each in _kept]


@pytest.mark.parametrize("end", ["is closed", "is killed"])
def test_a_view_outlives_the_owner(context: BaseContext, end: str) -> None:
    proxy, host = spawn(Store)
    with host, Child(context, keep, proxy) as child:
        assert child.result()
        if end == "is closed":
            host.close()
        else:
            os.kill(proxy.pid(), signal.SIGKILL)
        assert child.do(sums_of_kept).result() == [float(np.arange(4.0 * MANY).sum())] * 3


def let_keep(proxy: Any) -> dict[str, Any]:
    mine = np.arange(4.0 * MANY)
    seen: dict[str, Any] = {"changeable": [proxy.keep(by_view(mine)) for _ in range(3)]}
    expected = float(mine.sum())
    mine[:] = 0
    for number in range(5):
        proxy.echo(np.full(4 * MANY, float(number)))
        proxy.total(by_view(mine))
    seen["as they were"] = proxy.totals() == [expected] * 3
    seen["memory"] = mapped()
    return seen


def test_the_owner_may_keep_what_it_views_also_when_the_client_is_dead(
    context: BaseContext,
) -> None:
    store = Store()
    proxy, listener = share(store)
    gc.collect()
    before = mapped()  # what other tests have left
    with listener:
        seen = run(context, listener, let_keep, proxy)
        assert seen["changeable"] == [False] * 3
        assert seen["as they were"]
        assert seen["memory"] <= 1 + mapped()
        poll_until(lambda: not listener.stats().clients, listener)
        assert store.totals() == [float(np.arange(4.0 * MANY).sum())] * 3
        if sys.platform == "linux":
            assert mapped() - before == 3
    store.forget()
    assert mapped() == before


def send_views(proxy: Any, rounds: int) -> list[int]:
    """Return the numbers of the segments there are after calls whose arguments are not kept."""
    mine = np.ones(4 * MANY)
    for _ in range(rounds):
        assert proxy.total(by_view(mine)) == 4 * MANY
        assert (proxy.double(by_view(mine)) == 2.0).all()
    return list(pool_of(proxy)._all)


def test_what_is_not_kept_gives_its_memory_back_with_the_reply() -> None:
    proxy, listener = share(Store())
    with listener:
        assert len(run("fork", listener, send_views, proxy, 10)) == 1


def count_in_line(proxy: Any, member: str) -> list[int]:
    """Return what the owner said in line to calls with views, in bytes; of the first, nothing."""
    sizes: list[int] = []
    first = Channel.receive

    def receive(channel: Channel) -> Any:
        frames = first(channel)
        sizes.extend(len(frame[4]) for frame in frames or ())
        return frames

    call = getattr(proxy, member)
    call(by_view(np.ones(MANY)))
    Channel.receive = receive  # type: ignore[method-assign]
    for _ in range(3):
        call(by_view(np.ones(MANY)))
    return sizes


@pytest.mark.parametrize("member", ["double", "double_slowly", "double_together"])
def test_who_keeps_no_argument_replies_in_the_memory_that_came_with_it(member: str) -> None:
    proxy, listener = share(Many())
    with listener:
        assert max(run("fork", listener, count_in_line, proxy, member)) < 1000


# Every way ----------------------------------------------------------------------------------------


class Many(Store):
    @blocking
    def keep_slowly(self, value: Any) -> Any:
        self.kept.append(value)
        return by_view(2 * value)

    @blocking
    def double_slowly(self, value: Any) -> Any:
        return 2 * value

    @batched(max=8, within=0.0)
    def double_together(self, values: list[Any]) -> list[Any]:
        return [2 * value for value in values]

    @oneway
    def note(self, value: Any) -> None:
        self.kept.append(value)

    @batched(max=8, within=0.01)
    def together(self, values: list[Any]) -> list[Any]:
        self.kept += values
        return [by_view(value + 1) for value in values]


def by_every_way(proxy: Any) -> dict[str, Any]:
    big, total = np.arange(2.0 * MANY), float(np.arange(2.0 * MANY).sum())
    sent: list[float] = []
    kept: list[tuple[Any, Any]] = []

    def send(number: int) -> Any:
        sent.append(total * number)
        return by_view(big * number)

    for number in range(3):
        kept.append((proxy.keep_slowly(send(number)), 2 * big * number))
        notify(proxy.keep, send(number))
        proxy.note(send(number))
    futures = [submit(proxy.keep_slowly, send(number)) for number in range(20)]
    kept += [(future.result(), 2 * big * n) for n, future in enumerate(futures)]
    futures = [submit(proxy.together, send(number)) for number in range(20)]
    kept += [(future.result(), big * n + 1) for n, future in enumerate(futures)]

    async def ask() -> Any:
        return await asyncio.gather(*[aio(proxy.keep_slowly)(send(n)) for n in range(20)])

    kept += [(came, 2 * big * n) for n, came in enumerate(asyncio.run(ask()))]
    kept += [(came, np.full(MANY, n)) for n, came in enumerate(proxy.show_all(20))]
    try:
        proxy.fail(by_view(big))
    except ValueError as error:
        failed = error.args == ("it is wrong", total)
    for number in range(5):  # whatever memory is at hand
        proxy.echo(np.full(4 * MANY, float(number)))
    proxy.keep_slowly(np.zeros(1))
    return {
        "kept": all(bool((came == expected).all()) for came, expected in kept),
        "read-only": all(is_read_only(came) for came, _ in kept),
        "kept there": sorted(proxy.totals()) == sorted([*sent, 0.0]),
        "failed": failed,
    }


def test_views_go_every_way(context: BaseContext) -> None:
    proxy, listener = share(Many())
    with listener:
        assert run(context, listener, by_every_way, proxy) == {
            "kept": True,
            "read-only": True,
            "kept there": True,
            "failed": True,
        }


@proxied(dispatch="asyncio")
class Async(Store):
    async def keep_later(self, value: Any) -> Any:
        await asyncio.sleep(0)
        self.kept.append(value)
        return by_view(2 * value)


def keep_all_later(proxy: Any) -> bool:
    big = np.arange(2.0 * MANY)
    futures = [submit(proxy.keep_later, by_view(big * number)) for number in range(30)]
    came = [future.result() for future in futures]
    fine = [bool((each == big * 2 * n).all()) and is_read_only(each) for n, each in enumerate(came)]
    return all(fine) and proxy.totals() == [float((big * n).sum()) for n in range(30)]


def test_views_go_to_tasks() -> None:
    async def serve() -> bool:
        proxy, listener = share(Async())
        with listener, Child("spawn", keep_all_later, proxy) as child:
            serving = asyncio.create_task(listener.serve_async())
            fine: bool = await asyncio.to_thread(child.result)
            serving.cancel()
            return fine

    assert asyncio.run(serve())


def call_back(proxy: Any) -> dict[str, Any]:
    big = np.arange(2.0 * MANY)
    kept: list[Any] = []

    def keep_it(value: Any) -> Any:
        kept.append(value)
        return by_view(value * len(kept))

    came = [proxy.apply(by_ref(keep_it), big) for _ in range(4)]
    answered = [proxy.ask(by_ref(np.negative), by_view(np.ones(MANY))) for _ in range(2)]
    for number in range(5):
        proxy.echo(np.full(4 * MANY, float(number)))
    return {
        "kept": all(bool((value == big).all()) and is_read_only(value) for value in kept),
        "came": all(bool((each == big * n).all()) for n, each in enumerate(came, 1)),
        "read-only": all(map(is_read_only, came)),
        "beside what is viewed": answered == [MANY - 9.0 * 2 * MANY] * 2,
    }


def test_views_go_to_callbacks_and_back(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, call_back, proxy) == {
            "kept": True,
            "came": True,
            "read-only": True,
            "beside what is viewed": True,
        }


# Within bounds ------------------------------------------------------------------------------------


def keep_too_many(proxy: Any) -> dict[str, Any]:
    count = 3 * _buffers.MOST_VIEWED
    proxy.show()
    kept = [proxy.show() for _ in range(count)]
    for number in range(count):
        proxy.keep(by_view(np.full(MANY, float(number))))
    segments = len(pool_of(proxy)._all)
    echoed = [bool((proxy.echo(each) == each).all()) for each in kept[:3]]
    lines = [proxy.echo(np.ones(MANY)) for _ in range(3)]
    return {
        "views": sum(map(is_over, kept)),
        "fine": all(bool((each == kept[0]).all()) for each in kept) and all(echoed),
        "read-only": all(map(is_read_only, kept)),
        "room for others": segments < count and all(map(len, lines)),
        "kept there": proxy.totals() == [float(MANY * number) for number in range(count)],
        "there": proxy.segments(),
    }


@linux
def test_who_keeps_too_many_gets_copies_that_can_be_read_only(context: BaseContext) -> None:
    gc.collect()
    most, before = _buffers.MOST_VIEWED, mapped()
    proxy, listener = share(Store())
    with listener:
        seen = run(context, listener, keep_too_many, proxy)
    there = seen.pop("there") - before
    assert seen == {
        "views": most,
        "fine": True,
        "read-only": True,
        "room for others": True,
        "kept there": True,
    }
    assert there <= 2 * most + 4  # what the owner views, and what the client does


def show_without_memory(proxy: Any) -> list[bool]:
    def fail(*args: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _buffers.make = fail
    found = [proxy.show() for _ in range(3)]
    changeable = proxy.keep(by_view(np.ones(MANY)))
    return [not changeable, *map(is_read_only, found), *map(bool, (found[0] == found[2])[:3])]


@pytest.mark.filterwarnings("ignore:there is no shared memory")
def test_without_memory_it_is_a_copy_that_can_be_read_only() -> None:
    proxy, listener = share(Store())
    with listener:
        assert all(run("fork", listener, show_without_memory, proxy))


# Forked, interrupted ------------------------------------------------------------------------------


def fork_with_views(proxy: Any) -> list[int]:
    proxy.show()
    views = [proxy.show()]
    first = views[0].copy()
    reads, writes = os.pipe()

    def child() -> None:
        os.read(reads, 1)
        assert (views[0] == first).all()
        assert (proxy.echo(np.ones(MANY)) == 1.0).all()

    pid = fork(child)
    assert is_over(views[0])
    views.clear()  # here; the child has it
    for number in range(5):
        proxy.echo(np.full(4 * MANY, float(number)))
    os.write(writes, b".")
    return [os.waitpid(pid, 0)[1]]


def test_what_a_forked_child_views_is_not_written_over_by_its_parent() -> None:
    proxy, listener = share(Store())
    with listener:
        assert run("fork", listener, fork_with_views, proxy) == [0]


def let_fork(proxy: Any) -> int:
    pid = proxy.fork(by_view(np.ones(4 * MANY)))
    for number in range(5):
        proxy.echo(np.full(4 * MANY, float(number)))
    return int(proxy.tell(pid))


def test_what_a_child_of_the_owner_views_is_not_written_over() -> None:
    proxy, listener = share(Store())
    with listener:
        assert run("fork", listener, let_fork, proxy) == 0


def interrupted(proxy: Any) -> list[bool]:
    """Let calls end anywhere, and see that nothing that is kept is ever written over."""
    kept: list[tuple[Any, float]] = []
    sent = iter(range(1, 1 << 30))

    def call() -> None:
        number = float(next(sent))
        view = proxy.show_again(by_view(np.full(MANY, number)))
        kept.append((view, number))
        proxy.keep(by_view(np.full(MANY, number)))
        if len(kept) > 8:
            proxy.forget()
            del kept[:4]

    for _ in range(3):
        call()  # what is imported at first is imported
    raised = 0
    while raised < 100:
        raised += interrupt(call, rounds=25, longest=1e-3)
        assert all(bool((view == number).all()) for view, number in kept)
    for _ in range(20):
        call()
    whole = [total / MANY for total in proxy.totals()]
    return [
        all(bool((view == number).all()) for view, number in kept),
        all(total == int(total) for total in whole),
        len(set(whole)) == len(whole),
        mapped() <= 64,
    ]


def test_interrupts_leave_every_view_as_it_was(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert all(run(context, listener, interrupted, proxy))


def lose_the_owner(proxy: Any) -> tuple[str, bool]:
    proxy.show()
    view = proxy.show()
    first = view.copy()
    os.kill(proxy.pid(), signal.SIGKILL)
    lost: str = outcome(proxy.show)[1]
    return lost, bool((view == first).all())


def test_a_view_stays_when_a_call_finds_the_owner_dead() -> None:
    proxy, host = spawn(Store)
    with host:
        assert outcome(lose_the_owner, proxy)[1] == ("OwnerDied", True)
