"""The deadline of the calls that are made now, in this thread or task."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import TypeVar

from ..errors import CallTimeout

T = TypeVar("T")

_deadline: ContextVar[float | None] = ContextVar("pipeproxy_deadline", default=None)

#: The moment, on the monotonic clock, by which a call must be answered; None without end.
current = _deadline.get


def left(deadline: float | None) -> float | None:
    """Return the seconds until a deadline, 0 if it has passed and None if there is none."""
    return None if deadline is None else max(0.0, deadline - monotonic())


def is_over(deadline: float | None) -> bool:
    """Whether there is a deadline, and it has passed."""
    return deadline is not None and monotonic() >= deadline


def run(deadline: float | None, call: Callable[[], T]) -> T:
    """Call ``call()`` with this deadline, or an earlier one that holds already."""
    outer = current()
    if deadline is None or (outer is not None and outer < deadline):
        return call()
    token = _deadline.set(deadline)
    try:
        return call()
    finally:
        _deadline.reset(token)


def passed() -> CallTimeout:
    """Return the error of a call whose deadline passed."""
    return CallTimeout(
        "the call was not answered within its timeout; it may still be running in the owner, "
        "and its late answer will be dropped"
    )


def not_entered() -> CallTimeout:
    """Return the error of whoever could not enter a section before the deadline."""
    return CallTimeout(
        "the object was not free within the timeout: another thread or process is in a section of "
        "it, by locked(), or runs a call of it; nothing was entered"
    )


#: The longest wait, in seconds, that the system can be asked for: its clock counts milliseconds.
LONGEST = 2e6


def check_wait(seconds: float, what: str) -> None:
    """Pass if this is a time that can be waited for.

    Raises:
        ValueError: it is negative, no number, or too long; the text names `what`.
    """
    if not 0 <= seconds <= LONGEST:
        raise ValueError(
            f"{what} is a number of seconds up to {LONGEST:.0f} (23 days), not {seconds!r}; for no "
            f"limit at all, leave it out"
        )


class timeout:  # noqa: N801 - reads as the verb that it is: ``with timeout(0.5):``
    """Give the calls inside a block at most this many seconds, all of them together.

    Blocks nest; the earliest deadline counts. A call that is still unanswered then raises
    `CallTimeout`; it may still be running in the owner, and its late answer is dropped. Calls that
    the call makes in turn have what is left of the time. It holds for the calls of this thread or
    task only, and not in the owner's own process, where a call is an ordinary call of the object
    itself.

    Args:
        seconds: any number above 0, up to 2,000,000 (23 days).

    Raises:
        ValueError: `seconds` is none of these.
    """

    __slots__ = ("_seconds", "_tokens")

    def __init__(self, seconds: float, /) -> None:
        check_wait(seconds, "a timeout")
        if seconds == 0:
            raise ValueError("a timeout of 0 s would fail every call: leave the call out")
        self._seconds = seconds
        self._tokens: list[Token[float | None]] = []

    def __enter__(self) -> None:
        outer, own = _deadline.get(), monotonic() + self._seconds
        self._tokens.append(_deadline.set(own if outer is None else min(outer, own)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _deadline.reset(self._tokens.pop())
