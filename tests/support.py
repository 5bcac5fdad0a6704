"""What tests of processes, descriptors and signals have in common."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import Any

#: Seconds within which whatever a test waits for has happened, even on a busy machine.
PATIENCE = 30.0
#: Seconds within which threads have let go of what they do not need any more.
LETTING_GO = 3.0


def open_descriptors() -> dict[int, tuple[int, int]]:
    """Return what this process has open: the device and inode by descriptor."""
    found = {}
    for name in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # it was that of the listing
        found[int(name)] = (status.st_dev, status.st_ino)
    return found


def opened_since(
    before: dict[int, tuple[int, int]],
) -> list[tuple[int, tuple[int, int]]]:
    """Return what is open now and was not `before`, once all garbage is collected.

    Other threads may be about to let go of some of it.
    """
    end = monotonic() + LETTING_GO
    while open_descriptors().items() - before.items() and monotonic() < end:
        gc.collect()
    return sorted(open_descriptors().items() - before.items())


def named_memory() -> set[str]:
    """Return the names that there are in the machine's shared memory.

    Without semaphores, and without the files of a moment that `multiprocessing.Value` makes: other
    programs' come and go, and nobody here makes any.
    """
    names = os.listdir("/dev/shm") if sys.platform == "linux" else []
    return {name for name in names if not name.startswith(("sem.", "pym-"))}


def workers() -> int:
    """Return how many threads of the listeners of this process run calls that may wait."""
    return sum(thread.name == "pipeproxy worker" for thread in threading.enumerate())


def take_all_descriptors() -> list[int]:
    """Open as many descriptors as this process is allowed to, and return them."""
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))
    return taken


def is_readable(descriptor: int, seconds: float = PATIENCE) -> bool:
    """Wait until a descriptor is readable or at its end; return False if it never is."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def fork(function: Callable[[], object]) -> int:
    """Run `function` in a forked child and return its pid; the child exits with 1 if that raises.

    Nothing of the test run happens in the child: no teardown, no flush of what pytest captured.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def in_fork(test: Callable[[], object]) -> None:
    """Run `test` in a forked child; what it raises there fails the test here."""
    reader, writer = os.pipe()
    pid = fork(lambda: os.write(writer, _outcome_of(test)))
    os.close(writer)
    try:
        if not is_readable(reader):
            os.kill(pid, signal.SIGKILL)
        said = os.read(reader, 1 << 16).decode()
    finally:
        os.close(reader)
        status = os.waitpid(pid, 0)[1]
    assert (status, said) == (0, "fine"), f"in the child, which ended with {status}:\n{said}"


def _outcome_of(test: Callable[[], object]) -> bytes:
    try:
        test()
    except BaseException:
        return traceback.format_exc().encode()[-60_000:]
    return b"fine"


class Interrupted(Exception):
    """What the signal handler of `interrupt` raises."""


def interrupted_once() -> Callable[[bytes], Any]:
    """Return what is `pickle.loads`, but that a signal handler raises as its first call ends."""
    left = [Interrupted()]

    def loads(data: bytes) -> Any:
        value = pickle.loads(data)
        while left:
            raise left.pop()
        return value

    return loads


def interrupt(
    action: Callable[[], object],
    *,
    rounds: int,
    prepare: Callable[[], object] = lambda: None,
    longest: float = 200e-6,
) -> int:
    """Run `action` many times while a signal handler raises, once at most, at a random moment.

    Call it `in_fork`: the timer of the test process belongs to pytest-timeout.

    Args:
        action: what is interrupted; whatever it returns is dropped.
        rounds: how often.
        prepare: called before each round, never interrupted.
        longest: seconds within which the handler raises.

    Returns:
        How often the handler raised before the action was over.

    Raises:
        AssertionError: the exception of the handler was swallowed.
    """
    # What the test run itself would do while it is interrupted is not the matter.
    gc.callbacks.clear()
    gc.collect()
    gc.freeze()
    random = Random(20)
    swallowed: list[str] = []

    def note(unraisable: Any) -> None:
        where = repr(unraisable.object)
        if "_WeakValueDictionary" not in where:  # the locks of an import, in importlib
            swallowed.append(where)

    sys.unraisablehook = note
    interruptible = False

    def raise_in_action(number: int, frame: object) -> None:
        if interruptible:  # a signal may come a moment after its timer was stopped
            raise Interrupted

    signal.signal(signal.SIGALRM, raise_in_action)
    raised = 0
    for _ in range(rounds):
        interruptible = False
        prepare()
        try:
            try:
                interruptible = True
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest))
                action()
            finally:
                interruptible = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            raised += 1
    gc.collect()
    assert not swallowed, f"swallowed {len(swallowed)} times, first in {swallowed[0]}"
    return raised
