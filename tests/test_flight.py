"""Calls in flight: what is put is sent in its time, and whoever waits for it learns what came."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from math import inf
from time import monotonic
from typing import Any

import pytest

from pipeproxy import CallLost, batch
from pipeproxy._channels._wire import (
    BATCH,
    CALL,
    CANCEL,
    FROM_CLIENT,
    KEPT,
    RESULT,
    UP_FAILURE,
    Decoder,
    header,
)
from pipeproxy._client._flight import MOST_CALLS, Flight
from pipeproxy._client._held import Holdings
from pipeproxy._client._lines import Line

from .support import in_fork, interrupt
from .test_outbox import Call, Ends

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Lines:
    """Those of an owner that is always there."""

    def lives(self) -> set[tuple[int, bool]]:
        return set()

    def check(self, line: Line) -> None:
        pass

    def hung_up(self) -> Exception:
        return CallLost("the channel was cut")


class Carrier:
    """Notes when it was asked to look after a flight."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def take(self, flight: Flight, moment: float) -> None:
        self.moments.append(moment)


class Scene(Ends):
    """A flight, and the owner's end of its line."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.carrier = Carrier()
        lines: Any = Lines()
        self.flight = Flight(
            self.line,
            lines,
            Holdings(),
            lambda flight, frame: self.heard.append(frame),
            self.carrier,
        )

    def put(self, *calls: Call, gather: bool = False) -> None:
        for call in calls:
            assert self.flight.put(call.frame(), call, gather)

    def reply(self, *idents: int) -> None:
        for ident in idents:
            self.theirs.write(header(RESULT, 1, ident) + b"x")
        self.flight.settle(self.flight.receive())


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def calls(*idents: int) -> list[Call]:
    return [Call(ident) for ident in idents]


def test_the_first_is_written_at_once_and_what_comes_behind_is_gathered(scene: Scene) -> None:
    scene.put(*calls(1))
    assert scene.idents() == [1]
    scene.put(*calls(2, 3, 4))
    assert scene.idents() == []
    assert min(scene.carrier.moments[-3:]) < monotonic() + 1
    scene.flight.hurry()
    assert scene.idents() == [2, 3, 4]


def test_many_are_written_without_waiting_for_the_courier(scene: Scene) -> None:
    scene.put(*calls(*range(1, 100)))
    assert len(scene.idents()) > 60


def test_each_gets_its_own_reply_in_whatever_order(scene: Scene) -> None:
    some = calls(1, 2, 3)
    scene.put(*some)
    scene.flight.hurry()
    scene.reply(3, 1)
    assert [len(call.told) for call in some] == [1, 0, 1]
    assert scene.flight.is_under_way()
    scene.reply(2)
    assert [call.told for call in some] == [[(RESULT, b"x")]] * 3
    assert not scene.flight.is_under_way()


def test_a_thousand_in_a_batch_are_one_frame(scene: Scene) -> None:
    with batch():
        scene.put(*calls(*range(1, 1001)), gather=True)
        assert scene.read() == b""
    data = scene.read()
    assert data[22:24] == BATCH.to_bytes(2, "little")
    assert int.from_bytes(data[:4], "little") == len(data) - 24
    assert len(Decoder(FROM_CLIENT).feed(data)) == 1000


def test_what_came_before_a_batch_is_not_kept_back_for_it(scene: Scene) -> None:
    scene.put(*calls(1, 2))
    with batch():
        scene.put(*calls(3), gather=True)
        assert scene.idents() == [1, 2]
    assert scene.idents() == [3]


def test_what_may_not_be_kept_back_takes_a_batch_along(scene: Scene) -> None:
    scene.put(*calls(1))
    with batch():
        scene.put(*calls(2, 3), gather=True)
        assert scene.idents() == [1]
        scene.put(*calls(4))
        assert scene.idents() == [2, 3, 4]


def test_a_call_that_is_given_up_is_cancelled_if_the_owner_may_know_of_it(scene: Scene) -> None:
    sent, unsent = calls(1, 2)
    scene.put(sent, unsent)
    scene.flight.give_up(unsent)
    scene.flight.give_up(sent)
    scene.flight.hurry()
    frames = Decoder(FROM_CLIENT).feed(scene.read())
    assert [frame[:2] for frame in frames] == [(CALL, 1), (CALL, 2), (CANCEL, 1)]


def test_the_pipe_is_waited_for_only_if_something_is_to_be_written(scene: Scene) -> None:
    writer = (scene.line.pipe.writer, True)
    scene.put(*calls(1))
    scene.flight.is_blocked = True  # as an interrupt may leave it
    assert writer not in scene.flight.wants()
    scene.flight.is_blocked = False
    scene.flight.put(Call(2).frame(bytes(5 << 20)), Call(2))
    scene.flight.hurry()
    assert writer in scene.flight.wants()


def test_it_is_full_by_calls_and_by_bytes(scene: Scene) -> None:
    scene.put(*calls(*range(1, MOST_CALLS)))
    assert not scene.flight.is_full()
    scene.put(*calls(MOST_CALLS))
    assert scene.flight.is_full()
    other = Scene()
    other.flight.put(Call(1).frame(bytes(5 << 20)), Call(1))
    assert other.flight.is_full()
    other.close()


def test_deadlines_are_seen_wherever_a_call_is(scene: Scene) -> None:
    written, unwritten = Call(1, deadline=5.0), Call(2, deadline=6.0)
    scene.put(written, unwritten)
    assert scene.flight.moment() <= 5.0
    assert scene.flight.overdue(4.0) == []
    assert scene.flight.overdue(5.5) == [written]
    assert scene.flight.overdue(5.5) == []
    assert scene.flight.overdue(7.0) == [unwritten]
    scene.flight.hurry()
    assert scene.idents() == [1]
    assert scene.flight.moment() == inf


def test_it_lands_when_nothing_is_under_way(scene: Scene) -> None:
    scene.put(*calls(1))
    assert not scene.flight.land()
    scene.flight.upcalls[9] = None
    scene.reply(1)
    assert not scene.flight.land()  # an answer is owed
    scene.flight.answer(9, header(UP_FAILURE, 0, 9))
    assert scene.flight.land()


def test_what_is_put_after_that_has_to_go_another_way(scene: Scene) -> None:
    late = Call(1)
    assert scene.flight.land()
    assert not scene.flight.put(late.frame(), late)
    assert (late.told, late.sent, scene.read()) == ([], False, b"")


def test_everybody_learns_that_the_line_is_lost_and_whoever_comes_later(scene: Scene) -> None:
    some = calls(1, 2, 3)
    scene.put(*some)
    scene.theirs.close()
    with pytest.raises(CallLost):
        scene.flight.receive()
    scene.flight.lost = lambda: CallLost("cut")
    for call in scene.flight.end():
        call.fail(scene.flight.lost())
    late = Call(4)
    assert scene.flight.put(late.frame(), late)
    assert [call.told for call in [*some, late]] == [[CallLost]] * 4
    assert scene.flight.over
    assert scene.line.busy


def test_a_reply_that_breaks_whom_it_is_for_breaks_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: told.append(args.exc_type))

    class Broken(Call):
        def settle(self, kind: int, payload: bytes | memoryview) -> None:
            raise SystemExit

    broken, other = Broken(1), Call(2)
    scene.put(broken, other)
    scene.flight.hurry()
    scene.reply(1, 2)
    assert (told, len(other.told)) == ([SystemExit], 1)


def test_an_upcall_whose_thread_was_interrupted_is_answered(scene: Scene) -> None:
    asking = Call(1)
    scene.put(asking)
    scene.read()
    scene.flight.upcalls[9] = weakref.ref(asking)
    scene.flight.excuse()
    assert scene.read() == b""
    del asking
    scene.flight.pending.clear()
    gc.collect()
    scene.flight.excuse()
    [frame] = Decoder(FROM_CLIENT).feed(scene.read())
    assert frame[:2] == (UP_FAILURE | KEPT, 9)
    assert not scene.flight.is_under_way()


def test_in_a_forked_child_all_is_the_parents(scene: Scene) -> None:
    some = calls(1, 2)
    scene.put(*some)

    def child() -> None:
        scene.flight.forked()
        assert [call.told for call in some] == [["forked"]] * 2
        assert not scene.flight.put(Call(3).frame(), Call(3))

    in_fork(child)


def test_interrupts_at_any_moment_lose_and_repeat_nothing() -> None:
    def client() -> None:
        scene = Scene()
        numbers = iter(range(1, 10_000_000))
        put: list[int] = []
        written: list[int] = []

        def act() -> None:
            for _ in range(20):
                number = next(numbers)
                call = Call(number)
                scene.flight.put(call.frame(bytes(number % 3000)), call)
                put.append(number)
            scene.flight.hurry()

        def settle() -> None:
            scene.flight.pending.clear()
            while scene.flight.is_unsent():
                scene.flight.hurry()
                written.extend(scene.idents())
            written.extend(scene.idents())
            scene.flight.pending.clear()

        raised = 0
        while raised < 200:
            raised += interrupt(act, prepare=settle, rounds=25, longest=300e-6)
        settle()
        assert written == sorted(written)
        assert len(written) == len(set(written))
        assert set(put) <= set(written)
        scene.close()

    in_fork(client)
