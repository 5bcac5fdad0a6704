"""A promise is told what came of its call once, and gives back what it does not need."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from pipeproxy import CallLost, CodecError
from pipeproxy._channels._wire import FAILURE, RESULT
from pipeproxy._client._promises import Promise, Unheard, fulfil
from pipeproxy._client._requests import Request


class Kept(Promise):
    """Keeps what it is told."""

    def __init__(self, wanted: bool = True) -> None:
        self.wanted = wanted
        self.told: list[Any] = []

    def is_wanted(self) -> bool:
        return self.wanted

    def keep(self, value: Any) -> None:
        self.told.append(value)

    def refuse(self, error: BaseException) -> None:
        self.told.append(type(error))


class Owner:
    """Reads an answer as its text, and notes what it is given back."""

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def read(self, kind: int, answer: Any, request: Request, lease: Any) -> Any:
        _, _, member, args, _ = request
        if answer == b"bad":
            raise CodecError("it cannot be rebuilt")
        return LookupError() if kind == FAILURE else (answer, member, args)

    def abandon(self, ident: int, error: BaseException, lent: Any, *, came: bool) -> None:
        self.noted.append(("abandoned", ident, came))

    def is_left(self, lease: Any, line: Any, ident: int) -> None:
        self.noted.append(("left", ident))


class Went:
    """What went with a call: lent objects, or memory."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def take_back(self) -> None:
        self._owner.noted.append("taken back")

    def end(self, kind: int = 0) -> None:
        self._owner.noted.append("ended")


class Flown:
    line = "line"


def armed(promise: Any, owner: Owner, *, args: Any = ()) -> Any:
    went: Any = Went(owner)
    promise.arm(7, owner, (1, (), 5, args, None), None, went, went)
    promise.flight = Flown()
    return promise


def test_a_result_is_kept_and_an_exception_refused() -> None:
    owner = Owner()
    promise = armed(Kept(), owner, args=(1,))
    assert promise.begin()
    promise.settle(RESULT, b"yes")
    assert promise.told == [(b"yes", 5, (1,))]
    promise = armed(Kept(), owner)
    promise.settle(FAILURE, b"no")
    assert promise.told == [LookupError]
    assert owner.noted == ["ended", "ended"]


def test_what_cannot_be_rebuilt_is_refused_and_what_came_with_it_given_back() -> None:
    owner = Owner()
    promise = armed(Kept(), owner)
    promise.settle(RESULT, b"bad")
    assert promise.told == [CodecError]
    assert owner.noted == [("abandoned", 7, True), "ended"]


def test_what_went_with_a_call_that_may_have_arrived_is_the_owners_to_give_back() -> None:
    owner = Owner()
    promise = armed(Kept(), owner)
    assert promise.begin()
    promise.fail(CallLost("cut"))
    assert promise.told == [CallLost]
    assert owner.noted == [("abandoned", 7, False), ("left", 7)]


def test_what_went_with_a_call_that_was_never_sent_is_had_back() -> None:
    owner = Owner()
    promise = armed(Kept(), owner)
    promise.fail(CallLost("cut"))
    assert owner.noted == [("abandoned", 7, False), "taken back", "ended"]


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_call_that_nobody_wants_any_more_is_not_begun(how: str) -> None:
    owner = Owner()
    promise = armed(Kept(wanted=how != "cancelled"), owner)
    promise.gone = how == "gone"
    assert not promise.begin()
    assert not promise.begin()
    assert owner.noted == ["taken back", "ended"]


def test_once_it_is_over_it_keeps_neither_arguments_nor_line_alive() -> None:
    class Argument:
        pass

    argument = Argument()
    gone = weakref.ref(argument)
    promise = armed(Kept(), Owner(), args=(argument,))
    promise.begin()
    promise.settle(RESULT, b"yes")
    promise.told.clear()
    del argument
    gc.collect()
    assert gone() is None
    assert promise.flight is None
    promise.give_up()


def test_what_a_one_way_call_that_lent_something_raised_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: told.append(repr(args.object)))
    owner = Owner()
    armed(Unheard("Desk.call"), owner).settle(FAILURE, b"no")
    armed(Unheard("Desk.call"), owner).settle(RESULT, b"yes")
    lost = armed(Unheard("Desk.call"), owner)
    assert lost.begin()
    lost.fail(CallLost("cut"))
    assert told == ["Desk.call"]


def test_what_is_called_here_and_now_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: told.append(repr(args.object)))

    def fail() -> None:
        raise LookupError

    promise, other, unwanted = Kept(), Kept(), Kept(wanted=False)
    fulfil(promise, lambda: 5, "a method")
    fulfil(other, fail, "a method")
    fulfil(unwanted, fail, "a method")
    fulfil(None, lambda: 5, "a method")
    fulfil(None, fail, "a method")
    assert (promise.told, other.told, unwanted.told, told) == (
        [5],
        [LookupError],
        [],
        ["a method"],
    )
