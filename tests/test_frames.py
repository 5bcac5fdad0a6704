"""What the frames of a client ask for, beside calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeproxy._chains._activities import Activity
from pipeproxy._chains._deadlocks import waits
from pipeproxy._chains._residence import Residence
from pipeproxy._chains._sections import Entry
from pipeproxy._channels._door import Route
from pipeproxy._channels._wire import (
    CALL,
    CANCEL,
    ENTER,
    FAILURE,
    LEAVE,
    RELEASE,
    RESULT,
    UNHEARD,
    UP_RESULT,
    pack_number,
    pack_pairs,
    unpack_header,
)
from pipeproxy._objects._clients import Client
from pipeproxy._objects._faces import face_of
from pipeproxy._objects._objects import Objects
from pipeproxy._objects._subjects import Shared
from pipeproxy._owner._caller import SILENCE, Caller
from pipeproxy._owner._dispatch import Dispatch
from pipeproxy._owner._frames import Frames
from pipeproxy.codecs import pickle as codec
from pipeproxy.errors import Cancelled
from pipeproxy.transports.pipe import open_pair

UPCALLS = SimpleNamespace(way_to=lambda caller: caller)


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance


class Scene:
    """The frames of one client, of which nothing goes through a pipe."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.account = Account()
        self.shared = self.objects.add(Shared(self.account, face_of(self.account)))
        self.said: list[bytes] = []
        self.theirs, ours = open_pair()
        self.caller = Caller(ours, Client(b"token"), Activity(b"token", 1), UPCALLS)
        route = Route(b"listener", b"process", 1, b"\0nowhere", b"secret", 0.0)
        residence = Residence(lambda: None)
        self.dispatch = Dispatch(self.objects, tuple(route), residence, self.resume, self.say)
        self.frames = Frames(self.objects, self.dispatch, self.resume, self.say, lambda: None)
        self.resumed: list[Caller] = []

    def resume(self, caller: Caller) -> None:
        self.resumed.append(caller)

    def say(self, caller: Caller, frames: bytes) -> None:
        self.said.append(frames)

    def come(self, kind: int, ident: int = 0, payload: bytes = b"", member: int = 0) -> None:
        """Let one more frame have come."""
        self.caller.frames.append((kind, ident, self.shared.number, member, payload))

    def deposit(self, ident: int) -> None:
        member = self.shared.members.numbers["deposit"]
        self.come(CALL, ident, codec.encode_call((1,), None), member)

    def serve(self) -> Any:
        return self.frames.serve(self.caller, self.caller.frames[0])

    def close(self) -> None:
        self.theirs.close()
        self.caller.pipe.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_a_call_that_is_given_up_before_it_began_is_never_run_and_its_caller_told(
    scene: Scene,
) -> None:
    for ident in (1, 2):
        scene.deposit(ident)
    scene.come(CANCEL, 2)
    scene.frames.hear(scene.caller)
    assert [frame[1] for frame in scene.caller.frames] == [1]
    _, ident, _, _, kind = unpack_header(scene.said[0])
    assert (ident, kind) == (2, FAILURE)
    assert not scene.resumed
    scene.serve()
    assert scene.account.balance == 1


def test_what_waits_behind_a_call_that_is_given_up_goes_on(scene: Scene) -> None:
    for ident in (1, 2):
        scene.deposit(ident)
    scene.come(CANCEL, 1)
    scene.frames.hear(scene.caller)
    assert [frame[1] for frame in scene.caller.frames] == [2]
    assert scene.resumed == [scene.caller]


def test_that_a_reply_was_not_heard_is_heeded_in_its_order(scene: Scene) -> None:
    scene.deposit(1)
    scene.come(CANCEL, 1, member=UNHEARD)
    scene.frames.hear(scene.caller)
    assert len(scene.caller.frames) == 2
    scene.serve()
    assert scene.serve() == SILENCE
    assert scene.account.balance == 1


def test_giving_up_a_call_that_is_over_does_nothing(scene: Scene) -> None:
    scene.come(CANCEL, 1)
    assert scene.serve() == SILENCE
    assert not scene.caller.frames
    assert not scene.said


@pytest.fixture
def entered(scene: Scene) -> Callable[[int], bool]:
    """Let the client ask to enter the section; return whether it is in."""

    def enter(number: int) -> bool:
        scene.come(ENTER, number, pack_number(number))
        reply = scene.serve()
        return reply == (RESULT, b"")

    return enter


def test_a_section_is_entered_and_left(scene: Scene, entered: Callable[[int], bool]) -> None:
    assert entered(1)
    assert scene.shared.section.is_held_by(scene.caller.activity)
    scene.come(LEAVE, 2, pack_number(1))
    assert scene.serve() == (RESULT, b"")
    assert scene.shared.section.holder is None


def test_a_section_that_was_left_before_it_was_entered_is_not_entered(
    scene: Scene, entered: Callable[[int], bool]
) -> None:
    scene.come(LEAVE, 1, pack_number(7))
    assert scene.serve() == (RESULT, b"")
    assert not entered(7)
    assert scene.shared.section.holder is None
    assert entered(8)


def test_a_call_that_nobody_needs_is_no_wait_until_somebody_waits_behind_it(scene: Scene) -> None:
    scene.shared.section.hold(Entry(Activity(b"other", 1), lambda: None, {(None, 1): None}))
    scene.deposit(0)
    assert scene.serve() is None
    activity = scene.caller.activity
    assert waits.way_from(activity) == []
    scene.deposit(1)
    scene.dispatch.admission.unblock()
    assert [edge[1] for edge in waits.way_from(activity)] == [(b"other", 1)]
    scene.dispatch.admission.give_up(scene.caller)
    assert waits.way_from(activity) == []


def test_a_call_whose_caller_has_gone_on_is_no_wait(scene: Scene) -> None:
    scene.shared.section.hold(Entry(Activity(b"other", 1), lambda: None, {(None, 1): None}))
    scene.deposit(1)
    assert scene.serve() is None
    activity = scene.caller.activity
    assert waits.way_from(activity) != []
    scene.come(CANCEL, 1, member=UNHEARD)
    scene.dispatch.admission.unblock()
    assert waits.way_from(activity) == []
    scene.dispatch.admission.give_up(scene.caller)


def test_there_is_a_way_back_only_to_who_waits_for_a_reply(scene: Scene) -> None:
    for ident in (0, 5):
        scene.caller.running = ident
        assert (scene.caller.served.up is not None) == bool(ident)


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(scene: Scene) -> None:
    scene.come(UP_RESULT, 1, b"late")
    assert scene.serve() == SILENCE
    assert not scene.caller.frames


def test_what_is_released_is_held_no_more(scene: Scene) -> None:
    lent = scene.objects.lend(Shared(Account(), face_of(Account())), scene.caller.client, 5)
    scene.come(RELEASE, 0, pack_pairs([(5, lent.number)]))
    assert scene.serve() == SILENCE
    assert lent.number not in scene.objects.by_number


def test_what_is_taken_from_a_cancelled_call_reads_as_cancelled(scene: Scene) -> None:
    scene.deposit(1)
    scene.come(CANCEL, 1)
    scene.frames.hear(scene.caller)
    error = codec.decode_failure(scene.said[0][-unpack_header(scene.said[0])[0] :])
    assert type(error) is Cancelled
