"""A thread that calls and is interrupted, while others call: what all rows of interrupts share."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count, cycle
from multiprocessing import get_context
from multiprocessing.managers import BaseManager, BaseProxy
from random import Random
from time import monotonic
from types import TracebackType
from typing import Any

from pipeproxy import CallTimeout, spawn, spawning
from pipeproxy.testing import Interrupted

from ..support import Interrupted as Alarmed
from .rows import Tally

SIZES = (10, 100_000, 3_000_000)
#: Seconds after which a call is said to hang.
HANGS = 5.0
#: What may end a call that is interrupted.
INTERRUPTS = (Alarmed, Interrupted, CallTimeout)


def answer_to(token: int, size: int) -> bytes:
    return token.to_bytes(10, "big") * (size // 10)


class Echo:
    """Answers with the token that it was given, and knows how often each came."""

    def __init__(self) -> None:
        self._runs: Counter[int] = Counter()

    def answer(self, token: int, size: int) -> bytes:
        self._runs[token] += 1
        return answer_to(token, size)

    def runs(self) -> dict[int, int]:
        return dict(self._runs)


class EchoManager(BaseManager):
    pass


EchoManager.register("Echo", Echo)
Side = Callable[[], AbstractContextManager[Any]]


@contextmanager
def ours() -> Iterator[Any]:
    """A proxy of an Echo in a process of its own."""
    with spawning(get_context("fork")):
        echo, host = spawn(Echo)
    with host:
        yield echo


@contextmanager
def managers() -> Iterator[Any]:
    """The same by Manager."""
    with EchoManager(ctx=get_context("fork")) as manager:
        yield manager.Echo()  # type: ignore[attr-defined]


# A trial -----------------------------------------------------------------------------------------


class WrongAnswer(Exception):
    pass


class Hung(Exception):
    pass


@contextmanager
def bounded() -> Iterator[None]:
    """Raise Hung in what does not end."""

    def give_up(number: int, frame: object) -> None:
        raise Hung("hung")

    outer = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)


class Caller:
    """A thread that calls; each call has a token of its own, which its answer must show."""

    def __init__(self, echo: Any, number: int = 0) -> None:
        self._echo = echo
        self._tokens = count(number << 40)

    def call(self, size: int) -> int:
        token = self.token = next(self._tokens)
        got = self._echo.answer(token, size)
        if got != answer_to(token, size):
            late = isinstance(got, bytes) and int.from_bytes(got[:10], "big") < token
            raise WrongAnswer("an earlier call's reply" if late else "no reply of any call")
        return token


class Trial(Caller):
    """The main thread, whose calls are interrupted while other threads call all the time.

    Attributes:
        interrupted, lost: how often it was, and how often something was wrong afterwards.
        over: it hangs, so there is no use in going on.
    """

    def __init__(self, echo: Any, seed: int) -> None:
        super().__init__(echo)
        self.random = Random(seed)
        self.interrupted = self.lost = 0
        self.over = False
        self._reasons: Counter[str] = Counter()
        self._usual = dict.fromkeys(SIZES, 0.001)
        self._done = threading.Event()
        self._others = [
            threading.Thread(target=self._call_all_the_time, args=(Caller(echo, number),))
            for number in (1, 2)
        ]

    def __enter__(self) -> Trial:
        for other in self._others:
            other.daemon = True
            other.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        for other in self._others:
            other.join(HANGS)
            if other.is_alive():
                self.lose("another thread hung")

    def _call_all_the_time(self, caller: Caller) -> None:
        for size in cycle((10, 1000, 100_000)):
            if self._done.is_set():
                return
            try:
                caller.call(size)
            except Exception as error:
                self.lose(f"in another thread {reason_of(error)}")
                return

    def lose(self, why: str) -> None:
        self.lost += 1
        self._reasons[why] += 1

    def usual(self, size: int) -> float:
        """Return a random number of seconds, about as many as a call of this size takes."""
        return self.random.uniform(0.02, 1.2) * self._usual[size]

    def attempt(self, size: int) -> None:
        """Make a call that may be interrupted; any other end than its own answer is a loss."""
        try:
            self.call(size)
        except Exception as error:
            if isinstance(error, INTERRUPTS):
                raise
            self._lose_by(error)

    def attempt_without_end(self, size: int) -> None:
        """Make such calls until one is interrupted.

        It is no loop in a `try`: to Python 3.12 and 3.13 the jump of a `while` is outside of that.
        """
        while not self.over:
            self.attempt(size)

    def later(self, size: int) -> None:
        """After an interrupt: the next calls, small and large, must get their own answers."""
        self.interrupted += 1
        try:
            with bounded():
                self.call(10)
                began = monotonic()
                self.call(size)
                self._usual[size] = min(monotonic() - began, 0.05)
        except Exception as error:
            self._lose_by(error)

    def _lose_by(self, error: Exception) -> None:
        self.lose(reason_of(error))
        self.over = is_end(error) and not renewed(self._echo, error)

    def tally(self) -> Tally:
        """Look for calls that ran twice, by another channel than the trial's, and sum up."""
        runs: list[dict[int, int]] = []
        thread = threading.Thread(target=lambda: runs.append(self._echo.runs()), daemon=True)
        thread.start()
        thread.join(HANGS)
        if not runs:
            self.lose("no answer at the end")
        elif twice := sum(times > 1 for times in runs[0].values()):
            self._reasons["a call ran twice"] += twice
            self.lost += twice
        note = words(self._reasons) + "; there it ended" * self.over
        return Tally(self.interrupted, min(self.lost, self.interrupted), note)


def words(reasons: Counter[str]) -> str:
    """Say the two most frequent things that went wrong."""
    return ", ".join(f"{why}: {times:,}" for why, times in reasons.most_common(2))


def reason_of(error: Exception) -> str:
    return str(error) if isinstance(error, (WrongAnswer, Hung)) else type(error).__name__


def is_end(error: Exception) -> bool:
    """Whether there is no use in going on with the same proxy."""
    return isinstance(error, (Hung, EOFError, OSError))


def renewed(echo: Any, error: Exception) -> bool:
    """Give a Manager proxy whose connection broke another, which it would not do by itself."""
    if isinstance(error, Hung) or not isinstance(echo, BaseProxy):
        return False
    mine: Any = echo._tls  # type: ignore[attr-defined]
    mine.connection.close()
    del mine.connection
    return True
