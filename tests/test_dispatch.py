"""How a call that has arrived is run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeproxy import CodecError, NotExposed, Released
from pipeproxy._chains._activities import Activity
from pipeproxy._chains._deadlocks import Wait
from pipeproxy._chains._residence import Residence
from pipeproxy._channels import _borrowed
from pipeproxy._channels._door import Route
from pipeproxy._channels._wire import CALL, FAILURE, RESULT
from pipeproxy._objects._clients import Client
from pipeproxy._objects._faces import face_of
from pipeproxy._objects._objects import Objects
from pipeproxy._objects._subjects import Shared
from pipeproxy._owner._caller import Caller
from pipeproxy._owner._dispatch import Dispatch
from pipeproxy._specs._members import FIRST_METHOD, GET, SET
from pipeproxy.codecs import pickle as codec
from pipeproxy.transports.pipe import open_pair

from .support import Interrupted, interrupted_once


class Odd:
    """What does not want to be a result."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("it is bound to nothing")

    def __reduce__(self) -> Any:
        raise SystemExit(3)


class Subject:
    def __init__(self) -> None:
        self.value = 1
        self._secret = 2

    def add(self, amount: int, *, twice: bool = False) -> int:
        return self.value + amount * (2 if twice else 1)

    def fail(self) -> None:
        raise KeyboardInterrupt("its own")

    def lock(self) -> Any:
        return {"inner": threading.Lock()}

    def odd(self) -> Odd:
        return Odd()

    def __iter__(self) -> Iterator[int]:
        yield from range(3)


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def shared(objects: Objects) -> Shared:
    subject = Subject()
    return objects.add(Shared(subject, face_of(subject)))


@pytest.fixture
def dispatch(objects: Objects) -> Dispatch:
    route = Route(b"listener", b"process", 1, b"\0nowhere", b"secret", 0.0)
    residence = Residence(lambda: None)
    return Dispatch(
        objects,
        tuple(route),
        residence,
        lambda caller: None,
        lambda caller, frames: None,
    )


def run(dispatch: Dispatch, number: int, member: int, payload: bytes) -> Any:
    _, own = open_pair()
    caller = Caller(own, Client(b"token"), Activity(b"token", 1), None)
    frame = (CALL, 1, number, member, payload)
    caller.frames.append(frame)
    reply = dispatch.call(caller, frame) or dispatch.call_in_turn(caller, frame)
    assert reply is not None
    assert not caller.frames
    kind, answer = reply
    if kind == RESULT:
        return codec.decode(answer)
    assert kind == FAILURE
    return codec.decode_failure(answer)


def call(dispatch: Dispatch, shared: Shared, name: str, *args: Any, **kwargs: Any) -> Any:
    member = shared.members.numbers[name]
    return run(dispatch, shared.number, member, codec.encode_call(args, kwargs or None))


def test_a_call_gets_its_arguments_and_gives_its_result(dispatch: Dispatch, shared: Shared) -> None:
    assert call(dispatch, shared, "add", 2, twice=True) == 5
    assert dispatch.answers.errors == 0


def test_whose_call_has_ended_is_in_nobodys_way(dispatch: Dispatch, shared: Shared) -> None:
    call(dispatch, shared, "add", 2)
    with shared.section.right:  # it is had for a moment, for no call
        wait = Wait(Activity(b"another", 1), shared.section, "a call", lambda: None)
        assert wait.edge() is None


def test_whatever_a_method_raises_is_a_reply(dispatch: Dispatch, shared: Shared) -> None:
    assert type(call(dispatch, shared, "fail")) is KeyboardInterrupt
    assert type(call(dispatch, shared, "add")) is TypeError
    assert dispatch.answers.errors == 2


def test_a_result_that_cannot_travel_is_named(dispatch: Dispatch, shared: Shared) -> None:
    error = call(dispatch, shared, "lock")
    assert type(error) is CodecError
    assert "the result['inner'] of Subject.lock" in str(error)


def test_no_result_however_odd_ends_the_loop(dispatch: Dispatch, shared: Shared) -> None:
    assert type(call(dispatch, shared, "odd")) is SystemExit


def test_what_is_not_there_is_a_reply_too(dispatch: Dispatch, shared: Shared) -> None:
    nothing = codec.encode_call((), None)
    assert type(run(dispatch, 999, FIRST_METHOD, nothing)) is Released
    assert type(run(dispatch, shared.number, 999, nothing)) is NotExposed
    for member, args in ((GET, ("_secret",)), (SET, ("_secret", 1)), (GET, ("__reduce__",))):
        answer = run(dispatch, shared.number, member, codec.encode_call(args, None))
        assert type(answer) is NotExposed


@pytest.mark.parametrize("payload", [b"", b"garbage", codec.encode([1])], ids=repr)
def test_arguments_that_are_none_name_the_method(
    dispatch: Dispatch, shared: Shared, payload: bytes
) -> None:
    error = run(dispatch, shared.number, shared.members.numbers["add"], payload)
    assert type(error) is CodecError
    assert "Subject.add" in str(error)


def test_what_a_signal_handler_raises_as_arguments_are_read_is_not_lost(
    dispatch: Dispatch, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "loads", interrupted_once())
    assert type(call(dispatch, shared, "add", 2)) is Interrupted
    assert call(dispatch, shared, "add", 2) == 3


def test_a_result_that_is_too_large_is_an_error_and_not_a_frame(
    dispatch: Dispatch, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_borrowed, "LIMIT", 20_000)
    shared.target.value = [1] * 20_000
    error = call(dispatch, shared, "add", [2])
    assert type(error) is CodecError
    assert "Subject.add" in str(error)


def test_an_iterator_stays_and_is_taken_from_under_the_section_of_its_object(
    dispatch: Dispatch, shared: Shared, objects: Objects
) -> None:
    before = len(objects)
    member = shared.members.numbers["__iter__"]
    frame = (CALL, 1, shared.number, member, codec.encode_call((), None))
    dispatch.answers.answer(Client(b"token"), shared, frame)
    assert len(objects) == before + 1
    assert all(each.section is shared.section for each in objects)
