"""Bulk: what is large arrives as any other value does, by whatever way it travels."""

from __future__ import annotations

import array
import asyncio
import errno
import gc
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeproxy import (
    CallTimeout,
    aio,
    batch,
    batched,
    blocking,
    by_ref,
    notify,
    oneway,
    proxied,
    share,
    spawn,
    submit,
    timeout,
)
from pipeproxy._channels._channel import Channel
from pipeproxy._channels._parcels import BULK_FROM, Parcel
from pipeproxy._channels._wire import BARE, FAILURE
from pipeproxy._client import _pool
from pipeproxy._proxies._proxy import link_of
from pipeproxy._system import _buffers
from pipeproxy.codecs import pickle as codec

from .children import Child, outcome, poll_until, run
from .support import fork, interrupt, named_memory, open_descriptors, opened_since

MIB = 1 << 20
#: Elements of 8 bytes that are bulk.
MANY = BULK_FROM // 8


class Store:
    """What keeps values, gives them out and calls back."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def echo(self, value: Any, **more: Any) -> Any:
        return (value, more) if more else value

    def keep(self, value: Any) -> None:
        self.kept.append(value)

    def take(self, index: int) -> Any:
        return self.kept[index]

    def total(self, index: int) -> float:
        return float(np.sum(self.kept[index]))

    def fail(self, value: Any) -> None:
        raise ValueError("it is wrong", value)

    def fail_much(self) -> None:
        try:
            raise KeyError(np.full(MANY, 2.0))
        except KeyError as error:
            raise ValueError("it is wrong", np.full(4 * MANY, 3.0)) from error

    def make(self, size: int) -> Any:
        return np.full(size, 7.0)

    def stream(self, count: int) -> Iterator[Any]:
        for number in range(count):
            yield np.full(MANY, float(number))

    def apply(self, function: Callable[[Any], Any], value: Any) -> Any:
        return function(value)

    def sleep(self, seconds: float) -> Any:
        time.sleep(seconds)
        return np.full(MANY, seconds)

    def ping(self) -> None:
        pass

    def segments(self) -> int:
        return mapped()


def mapped() -> int:
    """Return how many segments this process maps."""
    maps = Path("/proc/self/maps")
    text = maps.read_text(encoding="utf-8") if maps.exists() else ""
    return text.count("memfd:pipeproxy")


linux = pytest.mark.skipif(sys.platform != "linux", reason="what is mapped cannot be seen")


class Sub(np.ndarray):
    """A class of one's own."""


def strided() -> Any:
    return np.arange(4.0 * MANY).reshape(2, -1)[:, ::2]


def structured() -> Any:
    made = np.zeros(MANY, dtype=[("a", "i4"), ("b", "f8"), ("c", "S3")])
    made["a"], made["c"] = np.arange(MANY), b"xy"
    return made


def read_only() -> Any:
    made = np.arange(float(MANY))
    made.flags.writeable = False
    return made


def nested() -> Any:
    one = np.arange(float(MANY))
    return {"list": [one, one], "tuple": (bytes(BULK_FROM), {1: bytearray(BULK_FROM)}), "x": {2}}


def frame() -> Any:
    import pandas as pd

    return pd.DataFrame({"n": np.arange(MANY), "x": np.ones(MANY), "s": ["text"] * MANY})


def table() -> Any:
    import pyarrow as pa

    return pa.table({"n": np.arange(4 * MANY), "s": pa.array(["text"] * 4 * MANY)})


def tensors() -> Any:
    import torch

    torch.set_num_threads(1)  # a forked child would wait for its parent's
    whole = torch.arange(4.0 * MANY).reshape(4, -1)
    return {
        "whole": whole,
        "strided": whole.T[1::2],
        "halves": whole.to(torch.bfloat16),
        "whole numbers": whole.to(torch.int8),
        "truths": whole > 5,
        "learned": torch.nn.Parameter(whole[:1]),
        "small": torch.ones(3),
        "empty": torch.zeros(0, 3),
        "sparse": torch.eye(MANY // 4).to_sparse(),
    }


#: What is tried where it is installed, each with the library that it is of.
LIBRARIES = {"pandas": "pandas", "arrow": "pyarrow", "torch": "torch"}

VALUES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: os.urandom(3 * MIB),
    "bytearray": lambda: bytearray(os.urandom(3 * MIB)),
    "str": lambda: "aé😀" * MIB,
    "ascii": lambda: "a" * MIB,
    "surrogates": lambda: "a\ud800" * MIB,
    "list": lambda: list(range(100_000)),
    "many small": lambda: [np.arange(100.0) for _ in range(2000)],
    "C": lambda: np.arange(4.0 * MANY).reshape(4, -1),
    "F": lambda: np.asfortranarray(np.arange(4.0 * MANY).reshape(4, -1)),
    "huge": lambda: np.arange(12 * MIB, dtype=np.uint8),
    "strided": strided,
    "structured": structured,
    "big-endian": lambda: np.arange(MANY, dtype=">f8"),
    "read-only": read_only,
    "strings": lambda: np.array(["a", "bcd"] * MANY),
    "dates": lambda: np.arange(MANY).astype("M8[s]"),
    "objects": lambda: np.array([None, "x", 5, {1: 2}] * MANY, dtype=object),
    "empty": lambda: np.zeros((0, 3, MANY)),
    "scalar": lambda: np.float64(1.5),
    "no dimension": lambda: np.array(1.5),
    "subclass": lambda: np.arange(float(MANY)).view(Sub),
    "array": lambda: array.array("d", range(MANY)),
    "array of characters": lambda: array.array("b", bytes(BULK_FROM)),
    "small array": lambda: array.array("i", range(3)),
    "memoryview": lambda: memoryview(os.urandom(3 * MIB)),
    "writable memoryview": lambda: memoryview(bytearray(3 * MIB)),
    "small memoryview": lambda: memoryview(b"abc"),
    "memoryview of numbers": lambda: memoryview(np.arange(4.0 * MANY).reshape(4, -1)),
    "strided memoryview": lambda: memoryview(bytearray(3 * MIB))[::3],
    "memoryview of F": lambda: memoryview(np.asfortranarray(np.ones((3, MANY)))),
    "big-endian memoryview": lambda: memoryview(np.arange(MANY, dtype=">f8")),
    "empty memoryview": lambda: memoryview(np.zeros((0, 3))),
    "memoryview without dimension": lambda: memoryview(np.array(1.5)),
    "nested": nested,
    "pandas": frame,
    "arrow": table,
    "torch": tensors,
}


def describe(value: Any) -> Any:
    """Return all that can be told of a value, as plain data."""
    if isinstance(value, np.ndarray):
        flags = value.flags
        order = flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.owndata
        content = value.tolist() if value.dtype == object else value.tobytes()
        return type(value), value.dtype, value.shape, order, content
    if isinstance(value, memoryview):
        return memoryview, value.shape, value.readonly, value.tobytes()
    if isinstance(value, (list, tuple)):
        return type(value), [describe(item) for item in value]
    if isinstance(value, dict):
        return dict, [(key, describe(item)) for key, item in value.items()]
    if type(value).__module__.startswith("torch"):
        dense = value.to_dense() if value.is_sparse else value
        state = type(value), value.dtype, value.shape, value.requires_grad, value.layout
        return *state, dense.detach().tolist(), None if value.is_sparse else value.stride()
    if type(value).__module__.startswith("pandas"):
        return type(value), value.dtypes.to_dict(), value.to_dict()
    return type(value), value


def pickled_copy(value: Any) -> Any:
    """Return what pickle makes of a value; where it refuses, the value."""
    try:
        return pickle.loads(pickle.dumps(value, 5))
    except TypeError:
        return value


def differing(proxy: Any, names: list[str]) -> list[str]:
    """Return the names of the values that do not come back as pickle would bring them."""
    found = []
    for name in names:
        value = VALUES[name]()
        for _ in range(2):  # the first time, nothing is at hand for the reply
            came = proxy.echo(value)
            if describe(came) != describe(pickled_copy(value)):
                found.append(name)
            if isinstance(value, memoryview) and came != value:
                found.append(f"{name} compared")
        [(pair, more)] = [proxy.echo([value], key=value)]
        if describe(pair[0]) != describe(came) or describe(more["key"]) != describe(came):
            found.append(f"{name} in others")
    return found


def test_what_arrives_is_what_pickle_would_bring(context: BaseContext) -> None:
    names = [name for name in VALUES if name not in LIBRARIES]
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, differing, proxy, names) == []


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items(), ids=LIBRARIES)
def test_what_libraries_keep_arrives(context: BaseContext, name: str, library: str) -> None:
    pytest.importorskip(library)
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, differing, proxy, [name]) == []


@pytest.mark.parametrize(("name", "library"), LIBRARIES.items(), ids=LIBRARIES)
def test_what_libraries_keep_travels_out_of_band(name: str, library: str) -> None:
    pytest.importorskip(library)
    parcel = codec.encode_result(VALUES[name]())
    assert type(parcel) is Parcel
    assert sum(map(len, parcel.buffers)) > len(parcel) / 2


# What arrived is the receiver's own ---------------------------------------------------------------


def use_up(proxy: Any) -> dict[str, bool]:
    """Change and reuse everything, and tell what of it could be seen."""
    mine = np.arange(4.0 * MANY)
    expected = mine.copy()
    proxy.keep(mine)
    mine[:] = -1
    first = proxy.take(0)
    for number in range(5):  # in the same memory
        proxy.echo(np.full(4 * MANY, float(number)))
    others = [proxy.take(0) for _ in range(3)]
    others[0][:] = 3
    return {
        "the owner's": bool((proxy.take(0) == expected).all()),
        "the first": bool((first == expected).all()),
        "another": bool((others[1] == expected).all()),
        "changed": bool((others[0] == 3).all()),
    }


def test_what_arrived_is_the_receivers_own(context: BaseContext) -> None:
    store = Store()
    proxy, listener = share(store)
    with listener:
        assert all(run(context, listener, use_up, proxy).values())
    # The client is dead and its memory gone.
    assert (store.kept[0] == np.arange(4.0 * MANY)).all()
    store.kept[0][:] = 5


_kept: list[Any] = []


def keep(proxy: Any) -> None:
    _kept.extend(proxy.make(4 * MANY) for _ in range(3))


def sums_of_kept() -> list[float]:
    for each in _kept:
        each[:] += 1
    return [float(each.sum()) for each in _kept]


def test_what_arrived_outlives_the_listener(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with Child(context, keep, proxy) as child:
        with listener:
            child.result(listener)
        assert child.do(sums_of_kept).result() == [32.0 * MANY] * 3


# Every way ----------------------------------------------------------------------------------------


def by_every_way(proxy: Any) -> dict[str, Any]:
    big = np.arange(4.0 * MANY)
    seen: dict[str, Any] = {}
    for _ in range(2):
        try:
            proxy.fail(big)
        except ValueError as error:
            seen["exception"] = error.args[0], bool((error.args[1] == big).all())
    seen["stream"] = [float(each[-1]) for each in proxy.stream(20)]
    heard: list[float] = []

    def double(value: Any) -> Any:
        heard.append(float(value.sum()))
        assert proxy.echo(big) is not big  # another call, on the way
        return value * 2

    for _ in range(3):
        seen["callback"] = bool((proxy.apply(by_ref(double), big) == 2 * big).all())
    seen["heard"] = heard == [float(big.sum())] * 3
    seen["callback fails"] = outcome(proxy.apply, by_ref(proxy.fail), 1)[1]
    with timeout(60):
        seen["deadline"] = bool((proxy.echo(big) == big).all())
    return seen


def test_bulk_goes_every_way(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, by_every_way, proxy) == {
            "exception": ("it is wrong", True),
            "stream": [float(number) for number in range(20)],
            "callback": True,
            "heard": True,
            "callback fails": "ValueError",
            "deadline": True,
        }


def fail_often(proxy: Any) -> tuple[list[int], list[bool]]:
    """Return what the owner said in line of exceptions, in bytes; and whether they are whole."""
    sizes, fine = [], []
    first = Channel.receive

    def receive(channel: Channel) -> Any:
        frames = first(channel)
        sizes.extend(len(frame[4]) for frame in frames or () if frame[0] & BARE == FAILURE)
        return frames

    Channel.receive = receive  # type: ignore[method-assign]
    caught: list[Any] = []
    for _ in range(4):
        try:
            proxy.fail_much()
        except ValueError as error:
            caught.append(error)
    for error in caught:
        told = error.__cause__
        ours, theirs = error.args[1], told.__cause__.args[0]
        fine += [bool((ours == 3.0).all()), bool((theirs == 2.0).all())]
        ours[:] = 0.0
    return sizes, fine


def test_what_exceptions_hold_travels_as_what_is_returned_does(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        sizes, fine = run(context, listener, fail_often, proxy)
    assert fine == [True] * 8
    assert sizes[0] > 5 * BULK_FROM  # the first, as nobody knew of it
    assert max(sizes[1:]) < 1000


def work_both_ways(proxy: Any, megabytes: int) -> list[float]:
    there = np.full(megabytes * MIB // 8, 1.0)

    def add_one(value: Any) -> Any:
        assert proxy.echo(there).size == there.size  # while the owner waits for this
        return value + 1

    return [float(proxy.apply(by_ref(add_one), there)[-1]) for _ in range(2)]


def test_both_directions_at_once_with_a_callback_in_flight(context: BaseContext) -> None:
    proxy, listener = share(Store())
    one, other = (Child(context, work_both_ways, proxy, 50) for _ in range(2))
    with listener, one, other:
        assert one.result(listener) == other.result(listener) == [2.0, 2.0]


# Late, interrupted, forked ------------------------------------------------------------------------


def give_up_and_go_on(proxy: Any) -> list[bool]:
    """Let replies come late, and see that nothing writes over what others read."""
    big = np.arange(2.0 * MANY)
    fine = [bool((proxy.echo(big) == big).all())]
    proxy.sleep(0.0)  # from here on, memory goes with it
    for _ in range(5):
        try:
            with timeout(0.02):
                proxy.sleep(0.1)
        except CallTimeout:
            fine += [bool((proxy.echo(big * n) == big * n).all()) for n in range(3)]
    return fine


def test_a_late_reply_writes_over_nothing(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, give_up_and_go_on, proxy) == [True] * 16


def interrupted(proxy: Any) -> tuple[int, bool]:
    big = np.arange(2.0 * MANY)
    proxy.echo(big)
    fine = []

    def call() -> None:
        came = proxy.echo(big)
        fine.append(bool((came == big).all()))

    raised = 0
    while raised < 100:
        raised += interrupt(call, rounds=25, longest=1e-3)
    gc.collect()
    call()
    return mapped(), all(fine)


def test_what_interrupts_leave_is_given_up(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener, Child(context, interrupted, proxy) as child:
        maps, fine = child.result(listener)
        assert fine
        assert maps <= 2
        if mapped():
            assert child.do(proxy.ping).result(listener) is None
            assert mapped() <= 2


def fork_and_echo(proxy: Any) -> list[Any]:
    """A forked child makes its own memory, while its parent goes on with what it has."""
    big = np.arange(2.0 * MANY)
    proxy.echo(big)
    came = proxy.echo(big)
    seen: list[Any] = []

    def child() -> None:
        assert mapped() == 0
        assert (came == big).all()
        for number in range(20):
            assert (proxy.echo(big + number) == big + number).all()

    pid = fork(child)
    seen += [bool((proxy.echo(-big) == -big).all()) for _ in range(20)]
    return [os.waitpid(pid, 0)[1], all(seen)]


def test_a_forked_child_shares_no_memory_with_its_parent() -> None:
    proxy, listener = share(Store())
    with listener:
        assert run("fork", listener, fork_and_echo, proxy) == [0, True]


# Nothing is left ----------------------------------------------------------------------------------


def echo_much(proxy: Any) -> int:
    for _ in range(3):
        proxy.echo(np.ones(MANY))
    return mapped()


def fail_with_much(proxy: Any) -> None:
    kept = proxy.echo(np.ones(MANY))
    raise ValueError(kept.sum())


@linux
@pytest.mark.parametrize("end", ["returns", "raises", "is killed"])
def test_nothing_is_left_of_a_client(context: BaseContext, end: str) -> None:
    proxy, listener = share(Store())
    with listener:
        run(context, listener, echo_much, proxy)  # what is made at its first use, and stays
        poll_until(lambda: mapped() == 0, listener)
        before, named = open_descriptors(), named_memory()
        child = Child(context, fail_with_much if end == "raises" else echo_much, proxy)
        if end == "raises":
            with pytest.raises(AssertionError, match="ValueError"):
                child.result(listener)
        else:
            assert child.result(listener) == 1
        assert mapped() == 1
        if end == "is killed":
            child.kill()
        else:
            child.end()
        del child
        poll_until(lambda: mapped() == 0, listener)
        assert opened_since(before) == []
        assert named_memory() <= named


def send_for_ever(proxy: Any, megabytes: int) -> None:
    much = np.ones(megabytes * MIB // 8)
    while True:
        proxy.keep(much)


@linux
def test_a_client_that_is_killed_in_the_middle_of_a_large_argument_frees_everything() -> None:
    store = Store()
    proxy, listener = share(store)
    with listener:
        for delay in (0.0, 0.02, 0.05):
            child = Child("fork", send_for_ever, proxy, 500)
            poll_until(lambda: store.kept, listener)
            os.kill(child.process.pid or 0, signal.SIGSTOP)
            time.sleep(delay)  # whatever it is in the middle of
            child.kill()
            store.kept.clear()
            poll_until(lambda: mapped() == 0, listener)
        store.kept.clear()
        assert run("fork", listener, echo_much, proxy) == 1


def lose_the_owner(proxy: Any) -> tuple[Any, int]:
    echo_much(proxy)
    os.kill(proxy.pid(), signal.SIGKILL)
    lost = outcome(proxy.echo, np.ones(MANY))[1]
    del proxy
    gc.collect()
    return lost, mapped()


class Mortal(Store):
    def pid(self) -> int:
        return os.getpid()


@linux
def test_nothing_is_left_of_an_owner_that_is_killed() -> None:
    proxy, host = spawn(Mortal)
    with host:
        assert outcome(lose_the_owner, proxy)[1][0] == "OwnerDied"


def stop_using(proxy: Any) -> list[int]:
    _pool.KEEP = 0.0  # type: ignore[misc]
    before, there = mapped(), proxy.segments()
    proxy.echo(np.ones(MANY))
    used = mapped()
    proxy.ping()
    return [used - before, mapped() - before, proxy.segments() - there]


@linux
def test_memory_that_is_not_used_is_given_up(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener:
        assert run(context, listener, stop_using, proxy) == [1, 0, 0]


def echo_and_measure(proxy: Any, rounds: int) -> list[int]:
    much = np.ones(4 * MIB)
    sizes = []
    for _ in range(rounds):
        proxy.echo(much)
        sizes.append(proxy.resident())
    return sizes


class Weighed(Store):
    def resident(self) -> int:
        return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * 4096


@linux
def test_the_owners_memory_does_not_grow() -> None:
    proxy, listener = share(Weighed())
    with listener:
        sizes = run("fork", listener, echo_and_measure, proxy, 60)
    assert max(sizes[30:]) - max(sizes[5:30]) < 16 * MIB


# Where there is no memory -------------------------------------------------------------------------


def echo_without_memory(proxy: Any, number: int) -> tuple[list[str], bool, int]:
    """Echo with an error in the place of all shared memory; return the warnings."""

    def fail(*args: Any) -> Any:
        raise OSError(number, os.strerror(number))

    _buffers.make = fail
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fine = [differing(proxy, ["C", "bytes", "nested"]) == [] for _ in range(2)]
    return [str(each.message) for each in caught], all(fine), mapped()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENOSYS])
def test_without_memory_all_goes_through_the_pipe_with_one_warning(number: int) -> None:
    proxy, listener = share(Store())
    with listener:
        before = mapped()
        told, fine, maps = run("fork", listener, echo_without_memory, proxy, number)
    assert fine
    assert maps <= before
    [text] = told
    assert "no shared memory" in text
    assert os.strerror(number) in text


def echo_many_at_once(proxy: Any, count: int) -> bool:
    """Hold more of the owner's results than there is shared memory for."""
    _pool.MOST_BYTES = 4 * MIB
    kept = [proxy.make(MANY) for _ in range(count)]
    return all(float(each[0]) == 7.0 for each in kept)


def test_a_client_may_hold_more_results_than_there_is_shared_memory() -> None:
    proxy, listener = share(Store())
    with listener:
        assert run("fork", listener, echo_many_at_once, proxy, 50)


# Verbs --------------------------------------------------------------------------------------------


def by_every_verb(proxy: Any) -> dict[str, Any]:
    big = np.arange(2.0 * MANY)
    seen: dict[str, Any] = {}
    for _ in range(2):
        futures = [submit(proxy.echo, big * number) for number in range(100)]
        came = [future.result() for future in futures]
        seen["submit"] = all((each == big * number).all() for number, each in enumerate(came))
    with batch():
        futures = [submit(proxy.make, MANY) for _ in range(100)]
    seen["batch"] = sum(float(future.result()[0]) for future in futures)
    for number in range(100):
        notify(proxy.keep, big * number)
    seen["notify"] = [proxy.total(number) for number in range(100)] == [
        float((big * number).sum()) for number in range(100)
    ]

    async def ask() -> Any:
        return await asyncio.gather(*[aio(proxy.echo)(big * number) for number in range(50)])

    came = asyncio.run(ask())
    seen["aio"] = all((each == big * number).all() for number, each in enumerate(came))
    with timeout(0.02):
        late = [submit(proxy.sleep, 0.05) for _ in range(5)]
    seen["late"] = [type(future.exception()).__name__ for future in late]
    cancelled = [submit(proxy.echo, big) for _ in range(20)]
    for future in cancelled[::2]:
        future.cancel()
    seen["after"] = all((proxy.echo(big * number) == big * number).all() for number in range(20))
    return seen


def test_bulk_goes_by_every_verb(context: BaseContext) -> None:
    proxy, listener = share(Store())
    with listener, Child(context, by_every_verb, proxy) as child:
        assert child.result(listener) == {
            "submit": True,
            "batch": 700.0,
            "notify": True,
            "aio": True,
            "late": ["CallTimeout"] * 5,
            "after": True,
        }
        if sys.platform == "linux":
            child.do(proxy.segments).result(listener)


# Dispatch -----------------------------------------------------------------------------------------


class Waiting(Store):
    @blocking
    def slowly(self, value: Any) -> Any:
        return value * 2

    @oneway
    def note(self, value: Any) -> None:
        self.kept.append(value)

    @blocking
    @oneway
    def note_slowly(self, value: Any) -> None:
        self.kept.append(value)

    @batched(max=8, within=0.01)
    def together(self, values: list[Any]) -> list[Any]:
        return [value + len(values) * 0 for value in values]


def by_every_dispatch(proxy: Any) -> dict[str, Any]:
    big = np.arange(2.0 * MANY)
    seen: dict[str, Any] = {}
    for _ in range(3):
        seen["blocking"] = bool((proxy.slowly(big) == 2 * big).all())
    for number in range(20):
        proxy.note(big * number)
        proxy.note_slowly(big * number)
    seen["batched"] = []
    for _ in range(2):
        futures = [submit(proxy.together, big * number) for number in range(20)]
        fine = [(each.result() == big * n).all() for n, each in enumerate(futures)]
        seen["batched"].append(all(fine))
    seen["plain"] = bool((proxy.together(big) == big).all())
    proxy.slowly(1)  # all notes before it, in this thread's order, are taken
    seen["notes"] = sorted(proxy.total(number) for number in range(40)) == sorted(
        float((big * number).sum()) for number in range(20) for _ in range(2)
    )
    return seen


def test_bulk_goes_to_every_kind_of_method(context: BaseContext) -> None:
    proxy, listener = share(Waiting())
    with listener:
        assert run(context, listener, by_every_dispatch, proxy) == {
            "blocking": True,
            "batched": [True, True],
            "plain": True,
            "notes": True,
        }


@proxied(dispatch="asyncio")
class Async:
    async def double(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value * 2


def double_all(proxy: Any) -> bool:
    big = np.arange(2.0 * MANY)
    fine = [bool((proxy.double(big) == 2 * big).all()) for _ in range(3)]
    futures = [submit(proxy.double, big * number) for number in range(30)]
    fine += [bool((each.result() == big * 2 * n).all()) for n, each in enumerate(futures)]
    return all(fine)


def test_bulk_goes_to_tasks() -> None:
    async def serve() -> bool:
        proxy, listener = share(Async())
        with listener, Child("spawn", double_all, proxy) as child:
            serving = asyncio.create_task(listener.serve_async())
            fine: bool = await asyncio.to_thread(child.result)
            serving.cancel()
            return fine

    assert asyncio.run(serve())


def count_records(proxy: Any) -> list[int]:
    """Return what the owner said in line while it called back, in bytes."""
    sizes: list[int] = []
    first = Channel.receive

    def receive(channel: Channel) -> Any:
        frames = first(channel)
        sizes.extend(len(frame[4]) for frame in frames or ())
        return frames

    Channel.receive = receive  # type: ignore[method-assign]
    proxy.apply(by_ref(np.negative), np.ones(MANY))
    return sizes


def test_what_is_asked_back_goes_in_the_memory_that_came_with_the_call() -> None:
    proxy, listener = share(Store())
    with listener:
        assert max(run("fork", listener, count_records, proxy)) < 1000


def notify_much(proxy: Any) -> int:
    """Return how many segments are out after many calls that get no reply, and one that does."""
    big = np.ones(MANY)
    pool = link_of(proxy).call.func.__self__._pool  # type: ignore[attr-defined]
    for _ in range(5):
        for _ in range(20):
            notify(proxy.fail, big)
            notify(proxy.keep, big)
        proxy.ping()
    return len(pool._out)


def test_the_memory_of_calls_that_get_no_reply_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    proxy, listener = share(Store())
    with listener:
        assert run("fork", listener, notify_much, proxy) == 0
    assert len(told) == 100
    told.clear()  # what is told keeps the frames alive that it came through, and with them memory
