"""A row of the table of promises: what is tried, on pipeproxy and on `multiprocessing.Manager`.

A row runs in a process of its own, which leads a session: whatever becomes of it, all of it ends.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

#: Seconds that a trial may take to end when it has said what came of it.
_LEAVE = 10.0


@dataclass(frozen=True)
class Tally:
    """What came of a row.

    Attributes:
        tried: how often it was tried.
        lost: what went wrong of that: calls that hung, got another's answer, were lost or ran
            twice, processes or descriptors that were left behind.
        note: what happened, in a few words; empty where nothing went wrong.
    """

    tried: int
    lost: int
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One thing that is tried.

    Attributes:
        title: what, as the README says it.
        ours: tries it on pipeproxy, with this seed.
        manager: tries the same on Manager; or a text that says why Manager cannot run it.
        seconds: after which it hangs.
    """

    title: str
    ours: Callable[[int], Tally]
    manager: Callable[[int], Tally] | str
    seconds: float = 60.0


def run(trial: Callable[[int], Tally], seed: int, seconds: float) -> Tally:
    """Run one side of a row in a session of its own, and end all that is left of it.

    A trial that hangs or fails is a tally too: nothing was tried to the end, and one thing is lost.
    """
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_in_session, args=(there, trial, seed))
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            return Tally(0, 1, f"hung: killed after {seconds:.0f} s")
        said: Any = here.recv()
        _leave(process)  # in peace, lest multiprocessing's own files stay
    except EOFError:
        process.join()
        return Tally(0, 1, f"its process ended with {process.exitcode}")
    finally:
        try:
            os.killpg(process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it had ended, and so had all that it started
        process.join()
        here.close()
    return said if isinstance(said, Tally) else Tally(0, 1, str(said))


def _leave(process: BaseProcess) -> None:
    """Wait a while for its end; `join` alone would wait for all that its children have forked."""
    end = monotonic() + _LEAVE
    while process.exitcode is None and monotonic() < end:
        process.join(0.01)


def _in_session(report: Connection, trial: Callable[[int], Tally], seed: int) -> None:
    os.setsid()
    try:
        said: Any = trial(seed)
    except BaseException:
        said = traceback.format_exc()
    report.send(said)
    report.close()
