"""Who this process is, and how others learn that it is gone.

A *process token* names a process for ever: 128 random bits, renewed in a forked child. (A pid does
not: it is used again.) A *life descriptor* becomes readable when its process is dead. The end of
file of a pipe cannot be trusted for that, because any sibling that was forked behind Python's back
keeps inherited ends open. It is a pidfd; where the system has none, the read end of a pipe whose
other end only the process itself holds.

Objects that must change when their process is forked register with `at_fork`.
"""

from __future__ import annotations

import os
import select
import threading
import weakref
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Protocol

from . import _descriptors
from ._descriptors import Descriptor


def _has_pidfds() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # another system, an old kernel, a sandbox that forbids it
        return False
    return True


PIDFDS = _has_pidfds()


class Heir(Protocol):
    def forked(self) -> None:
        """Become what it must be in a forked child; takes no lock and sends nothing."""


class _Thread(threading.local):
    """This thread: its number, by which other processes tell it from others of this one."""

    def __init__(self) -> None:
        self.number = next(_numbers)


_numbers = count(1)
_thread = _Thread()


def thread() -> int:
    """Return the number of this thread, never used for another in this process."""
    return _thread.number


class _Self:
    """This process: its token, and its life descriptor once somebody needed it."""

    def __init__(self) -> None:
        self.token = os.urandom(16)
        self.life: list[Descriptor] = []


_self = _Self()
_heirs: weakref.WeakSet[Heir] = weakref.WeakSet()

#: Grows just before and just after every fork of this process. That takes no Python code: what a
#: signal handler raised in it would be lost.
forks = bytearray()

#: How to tell what became of the process of a listener: set by whoever started it. (By its pid it
#: could not be found: that may be another process's by now.)
obituaries: dict[bytes, Callable[[], str]] = {}


def token() -> bytes:
    """Return the token of this process."""
    return _self.token


def descriptor() -> Descriptor:
    """Return the descriptor that is readable, anywhere, once this process is dead.

    Raises:
        OSError: the process is out of descriptors.
    """
    life = _self.life
    with _descriptors.lock:
        if not life:
            if PIDFDS:
                _descriptors.adopt(life, map(os.pidfd_open, (os.getpid(),)), ("rb",))
            else:
                _descriptors.adopt(life, _descriptors.pipes(1), ("rb", "wb"))
        return life[0]


def watch(pid: int) -> Descriptor | None:
    """Return a life descriptor of another process, or None where the system offers none by pid.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if not PIDFDS:
        return None
    found: list[Descriptor] = []
    with _descriptors.lock:
        _descriptors.adopt(found, map(os.pidfd_open, (pid,)), ("rb",))
    return found[0]


def is_dead(life: Descriptor | None) -> bool:
    """Whether the process of this life descriptor is dead; False where that cannot be known."""
    if life is None:
        return False
    poller = select.poll()
    poller.register(life.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def exists(pid: int) -> bool:
    """Whether there is a process of this pid, if only a dead one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def obituary(listener: bytes, pid: int) -> str:
    """Return what became of the process of a listener, as much as is known here."""
    tell = obituaries.get(listener)
    return tell() if tell else f"process {pid}, which held the object, is gone"


def at_fork(heir: Heir) -> None:
    """Call `heir.forked()` in every child that is forked while `heir` lives."""
    _heirs.add(heir)


def _in_child() -> None:
    global _self
    try:
        parent, _self = _self, _Self()
        for end in parent.life[1:]:  # the writing end: its copy would make the parent seem alive
            end.close()
        obituaries.clear()
        for heir in list(_heirs):
            heir.forked()
    finally:
        _descriptors.lock.release()


os.register_at_fork(
    before=_descriptors.lock.acquire,
    after_in_parent=_descriptors.lock.release,
    after_in_child=_in_child,
)
os.register_at_fork(before=partial(forks.append, 0), after_in_parent=partial(forks.append, 0))
