"""A call in flight for whose reply its thread waits is told all that concerns it, in order."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

from pipeproxy import CallLost, CallTimeout
from pipeproxy._channels._wire import RESULT, UPCALL
from pipeproxy._client._asking import Asking, tell

from .support import PATIENCE


def test_upcalls_come_before_the_reply() -> None:
    asking = Asking(3, None)
    asking.hear((UPCALL, 9, 0, 0, b"back"))
    asking.settle(RESULT, b"done")
    assert asking.take(0.0, None) == (UPCALL, 9, 0, 0, b"back")
    assert asking.is_told()
    assert asking.take(0.0, None) == (RESULT, 3, 0, 0, b"done")
    assert not asking.is_told()


def test_it_waits_for_another_thread() -> None:
    asking = Asking(3, None)
    threading.Thread(target=asking.settle, args=(RESULT, b"done")).start()
    assert asking.take(0.0, monotonic() + PATIENCE)[4] == b"done"


def test_a_deadline_ends_the_wait() -> None:
    with pytest.raises(CallTimeout):
        Asking(3, None).take(0.0, monotonic() + 0.01)


def test_what_became_of_the_line_is_raised() -> None:
    asking = Asking(3, None)
    asking.fail(CallLost("cut"))
    with pytest.raises(CallLost, match="cut"):
        asking.take(0.0, None)


def test_whoever_serves_others_meanwhile_is_alerted() -> None:
    alerts: list[int] = []
    asking = Asking(3, lambda: alerts.append(1))
    asking.settle(RESULT, b"")
    asking.fail(CallLost("cut"))
    assert alerts == [1, 1]


def test_one_that_nobody_waits_for_any_more_is_not_begun() -> None:
    begun, gone = Asking(1, None), Asking(2, None)
    assert begun.begin()
    begun.gone = gone.gone = True
    assert begun.begin()  # some of it may have been written
    assert not gone.begin()
    assert (begun.sent, gone.sent) == (True, False)


def test_what_a_callback_raises_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: told.append(args.exc_type))

    def leave(code: int) -> None:
        raise SystemExit(code)

    tell(leave, 1)
    assert told == [SystemExit]
