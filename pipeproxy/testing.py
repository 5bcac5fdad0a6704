"""A chaos kit: what happens to your objects when processes die, hang or are interrupted.

`disturbed` disturbs this process at a chosen or a random frame that it writes or reads, and
`disturbing` another one. It works in a client, whose written frames are calls, and in an owner,
whose written frames are replies. Aimed at a class of yours:

    import pytest

    from pipeproxy import OwnerDied, proxied, spawn
    from pipeproxy.testing import MIDDLE, Interrupted, disturbed, disturbing, interrupt, kill


    @proxied
    class Account:
        def __init__(self, owner: str) -> None:
            self.owner = owner
            self.balance = 0

        def deposit(self, amount: int) -> int:
            self.balance += amount
            return self.balance


    @pytest.mark.parametrize("seed", range(20))
    def test_an_interrupted_deposit_is_booked_once_or_not_at_all(seed: int) -> None:
        account, host = spawn(Account, "ada")
        with host:
            with disturbed(interrupt(), frame=1, seed=seed) as disturbance:
                with pytest.raises(Interrupted):
                    account.deposit(5)
            assert disturbance.happened
            assert account.balance in (0, 5)
            assert account.owner == "ada"


    def test_the_third_deposit_meets_the_death_of_the_owner() -> None:
        account, host = spawn(disturbing(kill(), frame=3, when=MIDDLE), Account, "ada")
        with host:
            assert [account.deposit(5), account.deposit(5)] == [5, 10]
            with pytest.raises(OwnerDied, match="SIGKILL"):
                account.deposit(5)

`check_transport` checks that what carries the bytes does so as it must.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import count
from random import Random
from types import TracebackType
from typing import Final, ParamSpec, TypeVar, final

from ._channels._taps import taps
from ._channels._transport_check import End, check_transport
from ._system import _life

__all__ = [
    "AFTER",
    "BEFORE",
    "MIDDLE",
    "READING",
    "End",
    "Interrupted",
    "Moment",
    "check_transport",
    "disturbed",
    "disturbing",
    "interrupt",
    "kill",
    "stop",
]

T = TypeVar("T")
P = ParamSpec("P")


# What is done ------------------------------------------------------------------------------------


class Interrupted(Exception):
    """What the signal handler of `interrupt` raises."""


@final
@dataclass(frozen=True)
class kill:  # noqa: N801 - reads as what it does, as all here
    """Let the process kill itself by SIGKILL."""

    def __call__(self) -> None:
        """Do it."""
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()


#: The program of the process that stops another one; it ends at once if that dies meanwhile.
_STOPPER: Final = """
import os, select, signal, sys
pid, seconds = int(sys.argv[1]), float(sys.argv[2])
os.kill(pid, signal.SIGSTOP)
if not select.select([0], [], [], seconds)[0]:
    os.kill(pid, signal.SIGCONT)
"""


@final
@dataclass(frozen=True)
class stop:  # noqa: N801
    """Let the process be stopped by SIGSTOP, and continued by SIGCONT after so many seconds.

    A small process does both. It ends with that, or when the stopped one dies.
    """

    seconds: float

    def __call__(self) -> None:
        """Do it."""
        command = [sys.executable, "-I", "-S", "-c", _STOPPER, str(os.getpid()), str(self.seconds)]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(command, stdin=pipe, stdout=null, start_new_session=True) as stopper:
            stopper.wait()


@final
@dataclass(frozen=True)
class interrupt:  # noqa: N801
    """Let a signal come whose handler raises an exception of class `error`.

    It is SIGUSR1; for KeyboardInterrupt it is Ctrl-C, with whatever handler the program has for it.
    Python runs handlers in the main thread, so the block is entered there and only frames of that
    thread count. (A spawned owner has nobody who would catch it, and ends.)
    """

    error: Callable[[], BaseException] = Interrupted

    def __call__(self) -> None:
        """Do it."""
        if self.error is KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
            return
        outer = signal.signal(signal.SIGUSR1, self._handle)
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL if outer is None else outer)

    def _handle(self, number: int, frame: object) -> None:
        raise self.error()


# When --------------------------------------------------------------------------------------------


class Moment(Enum):
    """When it is done."""

    BEFORE = "before a frame is written"
    MIDDLE = "in the middle of a frame that is written"
    AFTER = "after a frame was written"
    READING = "in the middle of a frame that is read"

    def __repr__(self) -> str:
        return self.name


BEFORE: Final = Moment.BEFORE
MIDDLE: Final = Moment.MIDDLE
AFTER: Final = Moment.AFTER
READING: Final = Moment.READING


@final
class disturbed:  # noqa: N801
    """Disturb this process once inside a block, at a frame of any of its channels.

    A block may be entered inside another, and by several threads. It does not hold in processes
    that are forked meanwhile.

    Args:
        action: what is done: `kill`, `stop`, `interrupt`, or any callable.
        frame: at which frame from the beginning of the block on, in whatever thread: calls and
            replies count (and what enters and leaves sections), greetings do not, nor what is told
            with a call of the references that are held;
            frames that are written, or for READING those that are read; None for a random one.
        when: at which moment of it; None for a random one.
        seed: for what is random; None for another choice each time.
        among: a random frame is one of the first so many.

    Attributes:
        frame, when: what was given or chosen.
        happened: whether it was done.
        counted: how many frames there were so far.

    Raises:
        ValueError: there is no such frame; or `interrupt` outside of the main thread.
    """

    def __init__(
        self,
        action: Callable[[], object],
        *,
        frame: int | None = None,
        when: Moment | None = None,
        seed: int | None = None,
        among: int = 10,
    ) -> None:
        if min(among, among if frame is None else frame) < 1:
            raise ValueError("the first frame has the number 1")
        random = Random(seed)
        some_frame, some_moment = random.randint(1, among), random.choice(list(Moment))
        self.action = action
        self.frame: int = some_frame if frame is None else frame
        self.when: Moment = some_moment if when is None else when
        self.happened: bool = False
        self.counted: int = 0

    def __repr__(self) -> str:
        return f"disturbed({self.action}, frame={self.frame}, when={self.when!r})"

    def __enter__(self) -> disturbed:
        self._thread: int | None = None
        if isinstance(self.action, interrupt):
            if threading.current_thread() is not threading.main_thread():
                raise ValueError("signal handlers run in the main thread: enter the block there")
            self._thread = threading.get_ident()
        self.happened, self._numbers = False, count(1)
        _life.at_fork(self)
        taps.enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        taps.leave(self)

    def forked(self) -> None:
        """In a forked child: it is the parent that is to be disturbed."""
        taps.forget(self)

    @property
    def reads(self) -> bool:
        """Whether it counts the frames that are read, and not those that are written."""
        return self.when is READING

    def place_in(self, size: int) -> int | None:
        """Count one more frame of `size` bytes; return after how many of them to act, if in it."""
        if self._thread not in (None, threading.get_ident()):
            return None
        number = self.counted = next(self._numbers)
        if number != self.frame:
            return None
        return {BEFORE: 0, AFTER: size}.get(self.when, size // 2)

    def act(self) -> None:
        """Do it."""
        self.happened = True
        self.action()


@final
class disturbing:  # noqa: N801
    """Disturb another process, from the moment on in which it calls this.

    It calls what is given as its first argument with all the others, so it goes before a function
    wherever another process is to call that: ``spawn(disturbing(stop(1)), Account, "ada")``, or
    ``Process(target=disturbing(kill(), frame=3), args=(work, account))``. It can be pickled if
    `action` can.

    Args:
        action, frame, when, seed, among: see `disturbed`.
    """

    def __init__(
        self,
        action: Callable[[], object],
        *,
        frame: int | None = None,
        when: Moment | None = None,
        seed: int | None = None,
        among: int = 10,
    ) -> None:
        self._block = disturbed(action, frame=frame, when=when, seed=seed, among=among)

    def __repr__(self) -> str:
        return f"disturbing{str(self._block).removeprefix('disturbed')}"

    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Enter the block, for ever, and return what `function` returns."""
        self._block.__enter__()
        return function(*args, **kwargs)
