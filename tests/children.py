"""Functions that run in other processes while the test serves them.

Every child imports this module, so it loads no pytest.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from time import monotonic
from typing import Any

from pipeproxy import Listener

from .support import PATIENCE

ROOT = Path(__file__).parent.parent


class Child:
    """A process that runs one function after another and reports what came of each.

    Args:
        context: how the process is started, or the name of that.
        function, args: what it runs first; given to the process itself, so that a forked child
            inherits them and no pickle is made.
    """

    def __init__(
        self,
        context: BaseContext | str,
        function: Callable[..., Any] | None = None,
        *args: Any,
    ) -> None:
        made: Any = multiprocessing.get_context(context) if isinstance(context, str) else context
        self._control, theirs = made.Pipe()
        _all.add(self)
        self.process = made.Process(target=_work, args=(theirs, function, args))
        self.process.start()
        theirs.close()

    def do(self, function: Callable[..., Any], *args: Any) -> Child:
        """Let it run one more function; `result` tells what came of it."""
        self._control.send((function, args))
        return self

    def result(self, *listeners: Listener[Any]) -> Any:
        """Return what its function returned; meanwhile poll these listeners.

        Raises:
            AssertionError: the function raised; the text is the child's traceback.
            EOFError: the child is dead.
        """
        poll_until(self._control.poll, *listeners, wake=self._control)
        fine, value = self._control.recv()
        assert fine, f"in the child:\n{value}"
        return value

    def kill(self) -> None:
        """End it by SIGKILL and wait for that."""
        self.process.kill()
        self.process.join()
        self._control.close()

    def end(self) -> None:
        """Let the process end once it has nothing to do; a second time does nothing."""
        if self._control.closed:
            return
        try:
            self._control.send(None)
        except ConnectionError:
            pass  # it is dead
        self._control.close()
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, "the child did not end"

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.end()
        else:
            self.kill()


_all: weakref.WeakSet[Child] = weakref.WeakSet()


def _close_copies() -> None:
    """In a forked child: whoever waits for its parent must see when that is dead."""
    for child in list(_all):
        child._control.close()


os.register_at_fork(after_in_child=_close_copies)


def _work(control: Connection, function: Callable[..., Any] | None, args: Any) -> None:
    try:
        if function is not None:
            _report(control, function, args)
        while (job := control.recv()) is not None:
            _report(control, *job)
    except (EOFError, ConnectionError):
        pass  # the parent is dead


def _report(control: Connection, function: Callable[..., Any], args: Any) -> None:
    try:
        control.send((True, function(*args)))
    except BaseException:
        control.send((False, traceback.format_exc()))


def run(
    context: BaseContext | str,
    listener: Listener[Any],
    function: Callable[..., Any],
    *args: Any,
) -> Any:
    """Run a function in a new process, serve it meanwhile and return what it returned."""
    with Child(context, function, *args) as child:
        return child.result(listener)


def poll_until(reached: Callable[[], object], *listeners: Listener[Any], wake: Any = None) -> None:
    """Poll these listeners until something is reached.

    Args:
        wake: what becomes readable when it may be; without it there is a look every 10 ms.
    """
    end = monotonic() + PATIENCE
    others = [] if wake is None else [wake]
    while not reached():
        left = end - monotonic()
        if left < 0:
            raise TimeoutError(f"not reached within {PATIENCE:.0f} s")
        wait([*others, *listeners], left if others else 0.01)
        for listener in listeners:
            listener.poll()


def outcome(function: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """Return what a function returns or raises, as plain data that can be compared."""
    try:
        return "returned", function(*args)
    except BaseException as error:
        return "raised", type(error).__name__, str(error)


def run_program(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new Python, in which every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", program, *args]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
