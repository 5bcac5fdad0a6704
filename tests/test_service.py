"""The owner's loop meets wrong bytes, slow readers and the dead; frames are written by hand."""

from __future__ import annotations

import gc
import os
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from random import Random
from typing import Any

import pytest

from pipeproxy import Listener, NotExposed, Released, proxied
from pipeproxy._channels._wire import (
    CALL,
    CLAIM,
    CROWDED,
    FAREWELL,
    FROM_OWNER,
    HEADER_SIZE,
    LIMIT,
    RELEASE,
    RESULT,
    WAITS,
    Decoder,
    header,
    pack_pairs,
)
from pipeproxy._specs._members import DELETE, FIRST_METHOD, GET, SET
from pipeproxy._system._descriptors import Descriptor
from pipeproxy.codecs import pickle as codec
from pipeproxy.transports.pipe import cores

from .raw import Raw
from .support import Interrupted, in_fork, interrupt, open_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")


@proxied(hide=["secret"], readonly=["size"])
class Thing:
    def __init__(self) -> None:
        self.calls = 0
        self.size = 3
        self.secret = "s"
        self._private = "p"

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def echo(self, value: Any) -> Any:
        return value

    def blob(self, size: int) -> bytes:
        self.calls += 1
        return bytes(size)

    def __iter__(self) -> Iterator[int]:
        return iter(range(100))


class Scene:
    """A listener, a thing, and a client of good manners beside those that a test makes."""

    def __init__(self) -> None:
        self.thing = Thing()
        self.listener: Listener[Any] = Listener()
        self.proxy = self.listener.share(self.thing)
        self.raws: list[Raw] = []
        self.good = self.client()

    def client(self, **options: Any) -> Raw:
        raw = Raw(self.listener, self.proxy, **options).greet()
        self.raws.append(raw)
        return raw

    def process_of(self, raw: Raw) -> int:
        """Return what stands in for an introduced client's process, which dies as it is closed."""
        reader, writer = os.pipe()
        client = self.listener._objects.clients[raw.token]
        callers = self.listener._service.callers
        assert client.life is not None
        act = callers.watched[client.life.fileno()]
        callers.unwatch(client.life.fileno())
        client.life.close()
        client.life = Descriptor(reader, "rb")
        callers.watch(client.life.fileno(), act)
        return writer

    def check_good(self) -> None:
        """The client of good manners gets its own answers, on the channel that it had."""
        token = os.urandom(8)
        assert self.good.ask("echo", token) == token


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.check_good()
    scene.listener.close()
    for raw in scene.raws:
        raw.close()


def test_who_calls_beside_more_others_than_there_are_cores_is_told_so() -> None:
    def crowd(others: int) -> list[int]:
        """What is told to one that calls again and again, beside so many others."""
        scene = Scene()
        callers = [scene.good, *(scene.client() for _ in range(others))]
        told = []
        for _ in range(3):
            for caller in callers:
                caller.write(caller.call("count"))
                frame = caller.read()
                if caller is scene.good:
                    told.append(frame[3])
        scene.listener.close()
        for raw in scene.raws:
            raw.close()
        return told[1:]  # the first time nothing was answered before

    assert crowd(0) == crowd(1) == crowd(cores()) == [0, 0]
    assert crowd(cores() + 1) == [CROWDED, CROWDED]


# Wrong bytes -------------------------------------------------------------------------------------

WAIT = (b"a" * 16, 1), (b"b" * 16, 2), 0.0, 0.0, "a call"


def waits_of(value: object) -> bytes:
    payload = pickle.dumps(value)
    return header(WAITS, len(payload)) + payload


GARBAGE: dict[str, Callable[[Raw], bytes]] = {
    "zeros": lambda raw: bytes(100),
    "ones": lambda raw: b"\xff" * 100,
    "text": lambda raw: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown kind": lambda raw: header(77, 0),
    "a kind that only owners send": lambda raw: header(RESULT, 0, 1),
    "a frame larger than any may be": lambda raw: (
        (LIMIT + 1).to_bytes(4, "little") + header(CALL, 0)[4:]
    ),
    "a release that is cut off": lambda raw: header(RELEASE, 5) + b"12345",
    "a claim that is cut off": lambda raw: header(CLAIM, 24) + bytes(24),
    "waits that are no pickle": lambda raw: header(WAITS, 3) + b"abc",
    "waits that are no list": lambda raw: waits_of(5),
    "a wait without its parts": lambda raw: waits_of([(1, 2)]),
    "a wait of nobody": lambda raw: waits_of([(b"", b"", 0.0, 0.0, "")]),
    "more waits than are told at once": lambda raw: waits_of([WAIT] * 65),
    "garbage after a good call": lambda raw: raw.call("count") + b"\xff" * 100,
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_wrong_bytes_cut_only_the_client_that_wrote_them(scene: Scene, garbage: str) -> None:
    bad = scene.client()
    same_process = scene.client()
    bad.write(GARBAGE[garbage](bad))
    assert bad.is_cut()
    assert not same_process.is_cut()
    scene.check_good()


def test_random_bytes_cut_only_the_client_that_wrote_them(scene: Scene) -> None:
    random = Random(7)
    for _ in range(50):
        bad = scene.client()
        bad.write(random.randbytes(random.randrange(24, 500)))
        scene.listener.poll()
        bad.close()
        scene.check_good()


PAYLOADS = {
    "nothing": b"",
    "no pickle": b"\xff\xfe",
    "half a pickle": pickle.dumps((1, 2), 5)[:-1],
    "no arguments": pickle.dumps("text", 5),
    "a list of no arguments": pickle.dumps([1, 2], 5),
    "too many arguments": codec.encode_call((1, 2, 3), None),
    "a keyword that is not there": codec.encode_call((), {"wrong": 1}),
}


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("member", [GET, SET, DELETE, FIRST_METHOD, 1000, 2**16 - 1])
def test_wrong_arguments_are_answered_by_an_error_and_cut_nothing(
    scene: Scene, payload: str, member: int
) -> None:
    raw = scene.client()
    before = dict(vars(scene.thing))
    raw.write(raw.frame(member, PAYLOADS[payload]))
    assert isinstance(raw.result(), Exception)
    assert raw.ask("echo", 5) == 5
    assert vars(scene.thing) == before


def test_half_a_frame_and_then_silence_stops_nobody_else(scene: Scene) -> None:
    slow = scene.client()
    whole = slow.call("echo", "late")
    for cut in (1, HEADER_SIZE - 1, HEADER_SIZE, len(whole) - 1):
        slow.write(whole[:cut])
        for _ in range(5):
            scene.check_good()
        slow.write(whole[cut:])
        assert slow.result() == "late"


def test_half_a_frame_and_then_death_is_no_call(scene: Scene) -> None:
    dying = scene.client()
    dying.write(dying.call("count") + dying.call("count")[:-1])
    dying.close()
    scene.listener.poll()
    scene.check_good()
    assert scene.thing.calls == 1


def test_a_header_that_announces_much_takes_no_memory(scene: Scene) -> None:
    greedy = scene.client()
    scene.check_good()
    tracemalloc.start()
    try:
        greedy.write(header(CALL, LIMIT, 1, greedy.number, FIRST_METHOD) + b"abc")
        for _ in range(3):
            scene.check_good()
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


# What may be reached -----------------------------------------------------------------------------

REFUSED = {
    "get private": (GET, ("_private",)),
    "set private": (SET, ("_private", 1)),
    "delete private": (DELETE, ("_private",)),
    "get hidden": (GET, ("secret",)),
    "set hidden": (SET, ("secret", 1)),
    "set read-only": (SET, ("size", 1)),
    "delete read-only": (DELETE, ("size",)),
    "get a method": (GET, ("count",)),
    "set a method": (SET, ("count", 1)),
    "get dict": (GET, ("__dict__",)),
    "get class": (GET, ("__class__",)),
    "set class": (SET, ("__class__", 1)),
    "get reduce": (GET, ("__reduce__",)),
    "get init": (GET, ("__init__",)),
    "no text": (GET, (5,)),
    "a kind of text": (GET, (b"size",)),
    "no member": (1000, ()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_owner_itself_refuses_what_is_not_exposed(scene: Scene, name: str) -> None:
    member, args = REFUSED[name]
    raw = scene.client()
    before = dict(vars(scene.thing))
    raw.write(raw.frame(member, codec.encode_call(args, None)))
    assert type(raw.result()) is NotExposed
    assert vars(scene.thing) == before
    assert type(scene.thing) is Thing


def test_the_frames_of_this_test_can_reach_what_is_exposed(scene: Scene) -> None:
    raw = scene.client()
    raw.write(raw.frame(GET, codec.encode_call(("size",), None)))
    assert raw.result() == 3
    raw.write(raw.frame(SET, codec.encode_call(("colour", "red"), None)))
    assert raw.result() is None
    assert scene.thing.colour == "red"


@pytest.mark.parametrize("number", [0, 2, 10**6, 2**64 - 1])
def test_an_object_that_does_not_exist_is_released(scene: Scene, number: int) -> None:
    raw = scene.client()
    raw.write(raw.frame(FIRST_METHOD, codec.encode_call((), None), number))
    assert type(raw.result()) is Released
    assert raw.ask("echo", 1) == 1


# References --------------------------------------------------------------------------------------


class References(pickle.Unpickler):
    """Reads a reply without receiving what it refers to, which is at home here."""

    def find_class(self, module: str, name: str) -> Any:
        return lambda route, number, *rest: (number, rest[-1])


def open_iterator(raw: Raw) -> tuple[int, int]:
    """Ask for an iterator, which stays in the owner; return its number and by which ident."""
    raw.write(raw.call("__iter__"))
    kind, *_, payload = raw.read()
    assert kind == RESULT
    number, ident = References(BytesIO(payload)).load()
    assert ident == raw.ident
    return number, ident


def take(raw: Raw, number: int) -> Any:
    raw.write(raw.frame(FIRST_METHOD, codec.encode_call((5, 0), None), number))
    return raw.result()


def release(*pairs: tuple[int, int]) -> bytes:
    payload = pack_pairs(pairs)
    return header(RELEASE, len(payload)) + payload


def test_what_a_client_holds_is_given_up_when_it_says_so(scene: Scene) -> None:
    raw = scene.client()
    number, ident = open_iterator(raw)
    assert scene.listener.stats().references == 2
    assert take(raw, number) == ([0, 1, 2, 3, 4], None)
    raw.write(release((ident, number)))
    assert type(take(raw, number)) is Released
    assert scene.listener.stats().references == 1


def test_what_a_client_gave_up_before_it_got_it_is_not_kept(scene: Scene) -> None:
    raw = scene.client()
    asked = raw.call("__iter__")
    raw.write(release((raw.ident, 0)) + asked)
    assert raw.read()[0] == RESULT
    assert scene.listener.stats().references == 1


def test_releases_of_what_is_not_held_are_ignored(scene: Scene) -> None:
    holder, other = scene.client(), scene.client()
    number, ident = open_iterator(holder)
    numbers = [number, holder.number, 0, 999, 2**64 - 1, number]
    other.write(release(*[(of, number) for number in numbers for of in (ident, 0, 999)]))
    other.write(header(RELEASE, 0))
    assert other.ask("echo", 1) == 1
    holder.write(release((ident, holder.number), (ident + 1, number), (ident + 1, 0)))
    assert take(holder, number) == ([0, 1, 2, 3, 4], None)
    assert scene.listener.stats().references == 2
    for _ in range(2):
        holder.write(release((ident, number)))
    assert holder.ask("echo", 1) == 1
    assert scene.listener.stats().references == 1


def test_a_claim_holds_until_it_is_released_however_often_it_was_told(scene: Scene) -> None:
    holder, other = scene.client(), scene.client()
    number, ident = open_iterator(holder)
    claim = pack_pairs([(7, number), (7, 999)])
    for _ in range(3):
        other.write(header(CLAIM, len(claim)) + claim)
    assert other.ask("echo", 1) == 1
    holder.write(release((ident, number)))
    assert holder.ask("echo", 1) == 1
    assert take(other, number) == ([0, 1, 2, 3, 4], None)
    other.write(release((7, number)))
    assert type(take(other, number)) is Released
    assert scene.listener.stats().references == 1


def test_what_a_client_holds_outlives_its_channel_but_not_its_process(scene: Scene) -> None:
    raw = scene.client(introduced=True)
    process = scene.process_of(raw)
    number, _ = open_iterator(raw)
    raw.close()
    scene.check_good()
    assert scene.listener.stats().references == 2
    assert take(scene.good, number) == ([0, 1, 2, 3, 4], None)
    os.close(process)
    scene.listener.poll()
    assert scene.listener.stats().references == 1
    assert raw.token not in scene.listener._objects.clients


# Coming and going --------------------------------------------------------------------------------


def test_who_knocks_as_a_broken_channel_ends_keeps_the_descriptors_that_it_is_given(
    scene: Scene,
) -> None:
    old = scene.client()
    [caller] = scene.listener._objects.clients[old.token].channels
    number = caller.pipe.writer
    new = Raw(scene.listener, scene.proxy)
    scene.raws.append(new)
    old.close()
    lower = []
    while (taken := os.dup(0)) < number:
        lower.append(taken)
    os.close(taken)
    os.close(number)  # behind the owner's back; the next that it is sent gets this number
    assert new.greet().ask("echo", "mine") == "mine"
    [caller] = scene.listener._objects.clients[new.token].channels
    assert number in {caller.pipe.reader, caller.pipe.writer}
    for taken in lower:
        os.close(taken)


def test_what_a_thread_wrote_whose_knock_its_dead_process_overtook_is_served_and_no_more_is_kept(
    scene: Scene,
) -> None:
    first = scene.client(introduced=True)
    process = scene.process_of(first)
    late = Raw(scene.listener, scene.proxy, token=first.token)
    late.write(late.call("count"))
    late.write(late.call("__iter__"))
    os.close(process)
    scene.listener.poll()
    # Though its pipe is still open, as if another process had inherited that.
    assert scene.thing.calls == 1
    assert first.token not in scene.listener._objects.clients
    assert scene.listener.stats().references == 1
    late.close()


def test_a_client_of_whose_death_nothing_tells_is_forgotten_with_its_last_channel(
    scene: Scene,
) -> None:
    one = scene.client()
    other = Raw(scene.listener, scene.proxy, token=one.token).greet()
    number, _ = open_iterator(one)
    one.close()
    scene.check_good()
    assert take(other, number) == ([0, 1, 2, 3, 4], None)
    other.write(other.call("count"))
    other.close()
    for _ in range(2):  # what it wrote, and the end
        scene.check_good()
    assert scene.thing.calls == 1
    assert one.token not in scene.listener._objects.clients
    assert scene.listener.stats().references == 1


def test_a_client_whose_introduction_was_interrupted_is_introduced_by_its_next_knock(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, callers = scene.listener._objects.clients, scene.listener._service.callers
    watch = callers.watch

    def watch_and_raise(number: int, act: Callable[[], object]) -> None:
        watch(number, act)
        raise Interrupted

    monkeypatch.setattr(callers, "watch", watch_and_raise)
    first = Raw(scene.listener, scene.proxy, introduced=True)
    with pytest.raises(Interrupted):
        scene.listener.poll()
    assert first.token not in clients
    monkeypatch.undo()
    again = scene.client(introduced=True, token=first.token)
    life = clients[again.token].life
    assert life is not None
    assert life.fileno() in callers.watched
    first.close()


# Slow readers ------------------------------------------------------------------------------------


def test_a_client_that_does_not_read_blocks_nobody_and_holds_little_memory(scene: Scene) -> None:
    slow = scene.client()
    size = 300_000
    calls = 200
    scene.check_good()
    tracemalloc.start()
    try:
        for _ in range(calls):
            slow.write(slow.call("blob", size))
            scene.listener.poll()
            scene.check_good()
        assert scene.thing.calls < 20
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()

    # As soon as it reads it gets every reply, in order.
    first = slow.ident - calls + 1
    for ident in range(first, first + calls):
        kind, of, *_, payload = slow.read()
        assert (kind, of) == (RESULT, ident)
        assert len(codec.decode(payload)) == size
    assert scene.thing.calls == calls
    assert slow.ask("echo", "after") == "after"


def test_a_large_reply_that_nobody_reads_does_not_keep_the_owner_awake(scene: Scene) -> None:
    slow = scene.client()
    slow.write(slow.call("blob", 5 << 20))
    scene.check_good()
    assert scene.listener.poll(0.02) == 0
    before = scene.listener.stats()
    assert scene.listener.poll(0.3) == 0
    after = scene.listener.stats()
    assert after.ran - before.ran < 0.15
    assert len(slow.result()) == 5 << 20


def test_a_client_that_dies_with_its_replies_unread_is_dropped(scene: Scene) -> None:
    gc.collect()  # what an earlier test left is not counted
    before = len(open_descriptors())
    dying = scene.client()
    for _ in range(20):
        dying.write(dying.call("blob", 300_000))
    scene.listener.poll()
    dying.close()
    for _ in range(5):
        scene.check_good()
    assert len(open_descriptors()) == before


# Signal handlers that raise ----------------------------------------------------------------------


def test_a_knock_at_any_moment_of_an_interrupt_is_answered_or_hung_up_on() -> None:
    def owner() -> None:
        scene = Scene()
        knocking: list[Raw] = []
        ends: list[str] = []

        def knock_again() -> None:
            for raw in knocking:
                try:
                    raw.greet()
                    ends.append("hello")
                except EOFError:
                    ends.append("hung up")
                raw.close()
            knocking[:] = [Raw(scene.listener, scene.proxy)]

        gc.collect()  # what an earlier test left is not counted
        before = len(open_descriptors())
        interrupt(scene.listener.poll, rounds=500, prepare=knock_again, longest=4e-4)
        knock_again()
        knocking.pop().close()
        for _ in range(3):
            scene.check_good()
        assert set(ends) == {"hello", "hung up"}
        assert len(open_descriptors()) <= before
        assert scene.listener.stats().clients == 1

    in_fork(owner)


def test_a_call_at_any_moment_of_an_interrupt_is_answered_once_or_hung_up_on() -> None:
    def owner() -> None:
        scene = Scene()
        callers = [scene.client()]
        ends: list[str] = []

        def call_again() -> None:
            raw = callers[0]
            if raw.ident:
                try:
                    result = raw.result()
                    assert result == raw.ident or "Interrupted" in repr(result), result
                    ends.append("answered")
                except EOFError:
                    ends.append("hung up")
                    raw.close()
                    callers[0] = raw = scene.client()
            try:
                raw.write(raw.call("echo", raw.ident + 1))
            except BrokenPipeError:  # cut after it was answered
                raw.close()
                callers[0] = raw = scene.client()
                raw.write(raw.call("echo", raw.ident + 1))

        interrupt(scene.listener.poll, rounds=500, prepare=call_again, longest=3e-4)
        call_again()
        assert set(ends) == {"answered", "hung up"}
        scene.check_good()

    in_fork(owner)


# Farewell ----------------------------------------------------------------------------------------


def test_a_closing_owner_says_farewell_after_the_last_reply() -> None:
    scene = Scene()
    last = scene.good
    last.write(last.call("echo", "last"))
    scene.listener.poll()
    scene.listener.close()
    data = last.pipe.read(1 << 16)
    assert data is not None
    kinds = [frame[0] for frame in Decoder(FROM_OWNER).feed(data)]
    assert kinds == [RESULT, FAREWELL]
    assert last.pipe.read(1) == b""
    last.close()
