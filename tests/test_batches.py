"""Calls of batched methods, by many processes and by several of one: each gets its own result."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from random import Random
from time import monotonic
from typing import Any

import pytest

from pipeproxy import (
    Cancelled,
    Listener,
    batched,
    locked,
    notify,
    proxied,
    spawn,
    spawning,
    submit,
    timeout,
)
from pipeproxy._channels._wire import CALL_WITHIN, header, pack_context
from pipeproxy._owner._batches import Batches
from pipeproxy.codecs import pickle as codec

from .children import Child, outcome, poll_until
from .raw import Raw
from .support import PATIENCE, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")
#: Seconds that no test waits for.
LONG = 3600.0


class Model:
    """Tells what it was given at once."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.others: list[str] = []

    @batched(max=16, within=0.05)
    def double(self, numbers: list[int]) -> list[int | Exception]:
        self.batches.append(numbers)
        return [ValueError(n) if n % 7 == 0 else 2 * n for n in numbers]

    @batched(max=3, within=LONG)
    def by_three(self, words: list[str]) -> list[str]:
        self.batches.append(words)
        return [word.upper() for word in words]

    @batched(within=LONG)
    def wrong(self, numbers: list[int]) -> list[int]:
        if 0 in numbers:
            raise LookupError("0 is among them")
        return numbers[1:] if 1 in numbers else None  # type: ignore[return-value]

    def note(self, word: str) -> list[str]:
        self.others.append(word)
        return self.others

    def seen(self) -> list[list[Any]]:
        return self.batches


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def listener() -> Iterator[Listener[Any]]:
    with Listener() as listener:
        yield listener


@pytest.fixture
def proxy(listener: Listener[Any], model: Model) -> Any:
    return listener.share(model)


@pytest.fixture
def clients(listener: Listener[Any], proxy: Any) -> Iterator[Callable[..., Raw]]:
    made: list[Raw] = []

    def make(**options: Any) -> Raw:
        made.append(Raw(listener, proxy, **options).greet())
        return made[-1]

    yield make
    for raw in made:
        raw.close()


class Relay:
    """Its batches need another object."""

    def __init__(self, other: Any) -> None:
        self.other = other

    @batched(max=4, within=0.01)
    def double(self, numbers: list[int]) -> list[int]:
        self.other.note("doubled")
        return [2 * number for number in numbers]


def double_inside_another(proxy: Any, other: Any) -> int:
    with locked(other):
        return int(proxy.double(3))


def test_a_batch_of_one_chain_may_enter_what_that_is_in() -> None:
    with spawning(FORK):
        other, host = spawn(Model)
    with host, Listener[Any]() as listener:
        relay = listener.share(Relay(other))
        with Child(FORK, double_inside_another, relay, other) as child:
            assert child.result(listener) == 6


# Many processes ----------------------------------------------------------------------------------


def double_all(proxy: Any, seed: int, count: int) -> list[tuple[int, Any]]:
    random = Random(seed)
    results = []
    for _ in range(count):
        number = random.randrange(10_000)
        results.append((number, outcome(proxy.double, number)))
    numbers = [random.randrange(10_000) for _ in range(count)]
    futures = [submit(proxy.double, number) for number in numbers]
    return results + [(n, outcome(f.result)) for n, f in zip(numbers, futures, strict=True)]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_each_of_many_processes_gets_its_own_results_and_errors(
    listener: Listener[Any], proxy: Any, model: Model, method: str
) -> None:
    children = [Child(method, double_all, proxy, seed, 100) for seed in range(5)]
    for child in children:
        for number, said in child.result(listener):
            expected = ("raised", "ValueError", str(number))
            assert said == (("returned", 2 * number) if number % 7 else expected)
    for child in children:
        child.end()
    assert sum(map(len, model.batches)) == listener.stats().calls["Model.double"] == 1000
    assert 1 < max(map(len, model.batches)) <= 16


def test_whoever_dies_in_a_batch_is_left_out_of_it(
    listener: Listener[Any], proxy: Any, model: Model, clients: Any
) -> None:
    one, other = clients(), clients()
    with Child(FORK, proxy.by_three, "dead") as child:
        poll_until(lambda: waiting(listener) == 1, listener)
        child.kill()
        poll_until(lambda: waiting(listener) == 0, listener)
    one.write(one.call("by_three", "a") + one.call("by_three", "b"))
    other.write(other.call("by_three", "c"))
    assert (one.replies(2), other.reply()) == ({1: "A", 2: "B"}, (1, "C"))
    assert [sorted(batch) for batch in model.batches] == [["a", "b", "c"]]


def waiting(listener: Listener[Any]) -> int:
    """How many calls wait in batches."""
    return sum(len(batch.errands) for batch in listener._service.batches.waiting)


# When it runs ------------------------------------------------------------------------------------


def test_it_runs_when_it_is_full(clients: Any, model: Model) -> None:
    idle, raw = clients(), clients()
    raw.write(b"".join(raw.call("by_three", letter) for letter in "abcdefg"))
    assert raw.replies(6) == dict(enumerate("ABCDEF", start=1))
    assert idle.ask("seen") == [["a", "b", "c"], ["d", "e", "f"]]


def test_it_runs_when_nobody_else_can_come(clients: Any, model: Model) -> None:
    one, other = clients(), clients()
    one.write(one.call("by_three", "a"))
    other.write(other.call("by_three", "b"))
    assert (one.result(), other.result()) == ("A", "B")
    assert [sorted(batch) for batch in model.batches] == [["a", "b"]]
    other.close()
    assert one.ask("by_three", "c") == "C"


def test_it_runs_when_its_time_is_over(clients: Any, model: Model) -> None:
    clients()  # which might call, but does not
    raw = clients()
    assert raw.ask("double", 5) == 10
    assert model.batches == [[5]]


def test_a_loop_that_polls_when_there_is_work_waits_in_no_vain(
    clients: Any, listener: Listener[Any]
) -> None:
    clients()
    raw = clients()
    raw.write(raw.call("double", 5))
    assert is_readable(listener.fileno())
    while not listener.poll():
        assert is_readable(listener.fileno())  # in time, as no call comes that would tell of it
    assert raw.result() == 10


def test_calls_of_one_channel_keep_their_order(clients: Any, model: Model) -> None:
    clients()
    raw = clients()
    frames = [raw.call("by_three", "a"), raw.call("by_three", "b"), raw.call("seen")]
    raw.write(b"".join(frames) + raw.call("by_three", "c") + raw.call("note", "d"))
    replies = raw.replies(5)
    assert replies == {1: "A", 2: "B", 3: [["a", "b"]], 4: "C", 5: ["d"]}


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "kind", "text"),
    [
        ((0, 1), LookupError, "0 is among them"),
        ((1, 2), RuntimeError, "Model.wrong is batched, was called with 2 values .* returned 1"),
        ((2, 3), TypeError, "Model.wrong is batched, was called with 2 values .* NoneType"),
    ],
)
def test_what_is_wrong_with_a_batch_is_told_to_all_of_it(
    clients: Any, listener: Listener[Any], numbers: tuple[int, int], kind: Any, text: str
) -> None:
    both = clients(), clients()
    for raw, number in zip(both, numbers, strict=True):
        raw.write(raw.call("wrong", number))
    for raw in both:
        with pytest.raises(kind, match=text):
            raise raw.result()
    assert listener.stats().errors == 2


def test_what_is_wrong_with_one_call_is_told_to_that_one(clients: Any, model: Model) -> None:
    raw, other = clients(), clients()
    raw.write(raw.call("by_three", "a", "b") + raw.frame(raw.members.numbers["by_three"], b"junk"))
    other.write(other.call("by_three", "c"))
    errors = raw.replies(2)
    assert [type(error).__name__ for error in errors.values()] == ["TypeError", "CodecError"]
    assert (other.result(), model.batches) == ("C", [["c"]])


# Who gives up ------------------------------------------------------------------------------------


def test_a_call_that_is_given_up_leaves_its_batch(clients: Any, model: Model) -> None:
    clients()
    raw = clients()
    raw.write(raw.call("by_three", "a") + raw.call("by_three", "b") + raw.cancel())
    ident, error = raw.reply()
    assert (ident, type(error)) == (2, Cancelled)
    raw.write(raw.call("by_three", "c") + raw.call("by_three", "d"))
    assert raw.replies(3) == {1: "A", 3: "C", 4: "D"}
    assert model.batches == [["a", "c", "d"]]


def test_a_call_whose_deadline_has_passed_does_not_run(clients: Any, model: Model) -> None:
    clients()
    raw = clients()
    payload = pack_context(0.0, 0, ()) + codec.encode_call(("late",), None)
    member = raw.members.numbers["by_three"]
    raw.write(header(CALL_WITHIN, len(payload), 99, raw.number, member) + payload)
    raw.write(raw.call("by_three", "a") + raw.call("by_three", "b"))
    replies = raw.replies(3)
    assert (replies[1], replies[2], type(replies[99]).__name__) == ("A", "B", "CallTimeout")
    assert model.batches == [["a", "b"]]


def test_what_is_notified_runs_although_its_client_is_gone(
    listener: Listener[Any], proxy: Any, model: Model
) -> None:
    with Child(FORK, notify_and_exit, proxy):
        poll_until(lambda: model.batches, listener)
    assert model.batches == [["bye"]]


def notify_and_exit(proxy: Any) -> None:
    notify(proxy.by_three, "bye")


# Sections ----------------------------------------------------------------------------------------


def test_calls_wait_while_somebody_else_is_in_the_section(clients: Any, model: Model) -> None:
    holder, raw = clients(), clients()
    raw.write(raw.call("by_three", "collected"))
    raw.listener.poll()
    holder.write(holder.enter())
    holder.reply()
    raw.write(raw.call("note", "after"))  # so that the batch is due
    assert holder.ask("by_three", "inside") == "INSIDE"
    assert holder.ask("seen") == [["inside"]]
    holder.write(holder.leave(1))
    holder.reply()
    assert raw.replies(2) == {1: "COLLECTED", 2: ["after"]}
    assert model.batches == [["inside"], ["collected"]]


def double_inside(proxy: Any, count: int) -> int:
    total = 0
    for number in range(1, count):
        with timeout(PATIENCE), locked(proxy):
            total += proxy.double(7 * number + 1)
    return total


def test_batches_and_sections_mix(listener: Listener[Any], proxy: Any, model: Model) -> None:
    inside = [Child(FORK, double_inside, proxy, 50) for _ in range(2)]
    children = [Child(FORK, double_all, proxy, seed, 50) for seed in range(3)]
    for child in inside:
        assert child.result(listener) == sum(2 * (7 * n + 1) for n in range(1, 50))
        child.end()
    for child in children:
        assert all(s == ("returned", 2 * n) for n, s in child.result(listener) if n % 7)
        child.end()


# Interrupts --------------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


def test_an_interrupt_as_results_are_told_cuts_one_channel(
    clients: Any, listener: Listener[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = clients(), clients()
    one.write(one.call("by_three", "a"))
    other.write(other.call("by_three", "b"))

    def interrupted(*args: object) -> None:
        monkeypatch.undo()
        raise Interrupted

    monkeypatch.setattr(listener._service.batches, "_finish", interrupted)
    with pytest.raises(Interrupted):
        poll_until(lambda: False, listener)
    said = []
    for raw in (one, other):
        try:
            said.append(type(raw.result()).__name__)
        except EOFError:
            said.append("cut")
    assert sorted(said) == ["CallLost", "cut"]


def test_an_interrupted_batch_does_not_run_again(
    clients: Any, listener: Listener[Any], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = clients()

    def interrupted(batches: Batches, errands: Any, outcomes: Any) -> None:
        monkeypatch.undo()
        raise Interrupted

    monkeypatch.setattr(Batches, "_tell_all", interrupted)
    raw.write(raw.call("by_three", "a"))
    with pytest.raises(Interrupted):
        poll_until(lambda: False, listener)
    assert type(raw.result()).__name__ == "CallLost"
    assert (raw.ask("by_three", "b"), model.batches) == ("B", [["a"], ["b"]])


# In an event loop --------------------------------------------------------------------------------


@proxied(dispatch="asyncio")
class Async:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = 0

    @batched(max=8, within=0.05)
    async def double(self, numbers: list[int]) -> list[int | Exception]:
        self.batches.append(numbers)
        await asyncio.sleep(0)
        return [ValueError(n) if n % 7 == 0 else 2 * n for n in numbers]

    @batched(max=4, within=0.01)
    def triple(self, numbers: list[int]) -> list[int]:
        return [3 * n for n in numbers]

    @batched
    async def wait(self, numbers: list[int]) -> list[int]:
        self.begun += len(numbers)
        await asyncio.get_running_loop().create_future()
        raise AssertionError


def use_async(proxy: Any, seed: int) -> list[tuple[int, Any]]:
    assert [proxy.triple(n) for n in range(20)] == [3 * n for n in range(20)]
    return double_all(proxy, seed, 50)


def test_async_batches_run_at_once_in_the_loop() -> None:
    model = Async()

    async def main() -> list[Any]:
        with Listener() as listener:
            proxy = listener.share(model)
            serving = asyncio.create_task(listener.serve_async())
            children = [Child(FORK, use_async, proxy, seed) for seed in range(3)]
            said = await asyncio.gather(*(asyncio.to_thread(child.result) for child in children))
            for child in children:
                await asyncio.to_thread(child.end)
            listener.close()
            await serving
            return [each for results in said for each in results]

    for number, result in asyncio.run(asyncio.wait_for(main(), PATIENCE)):
        expected = ("raised", "ValueError", str(number))
        assert result == (("returned", 2 * number) if number % 7 else expected)
    assert sum(map(len, model.batches)) == 300
    assert max(map(len, model.batches)) <= 8


def test_an_async_batch_ends_with_the_loop_that_awaits_it() -> None:
    model = Async()

    async def main() -> Any:
        with Listener() as listener:
            proxy = listener.share(model)
            serving = asyncio.create_task(listener.serve_async())
            with Child(FORK, outcome, proxy.wait, 1) as child:
                end = monotonic() + PATIENCE
                while not model.begun:
                    assert monotonic() < end
                    await asyncio.sleep(0.01)
                serving.cancel()
                await asyncio.wait([serving])
                return await asyncio.to_thread(child.result)

    assert asyncio.run(main())[:2] == ("raised", "CallLost")


# A client that is killed -------------------------------------------------------------------------


def double_until_killed(proxy: Any, seed: int) -> None:
    random = Random(seed)
    while True:
        for future in [submit(proxy.double, random.randrange(1000)) for _ in range(10)]:
            future.exception()


def test_the_dead_take_nobody_with_them(listener: Listener[Any], proxy: Any) -> None:
    doomed = [Child(FORK, double_until_killed, proxy, seed) for seed in range(3)]
    with Child(FORK, double_all, proxy, 4, 200) as child:
        poll_until(lambda: listener.stats().calls.get("Model.double", 0) > 100, listener)
        for victim in doomed:
            assert victim.process.pid is not None
            os.kill(victim.process.pid, signal.SIGKILL)
        assert all(s == ("returned", 2 * n) for n, s in child.result(listener) if n % 7)
    for victim in doomed:
        victim.kill()
    poll_until(lambda: waiting(listener) == 0, listener)
