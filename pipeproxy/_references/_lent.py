"""Objects of this process that go by reference without a listener: to whom it calls, and serves.

They have a home as those of a listener do, but no door: others call them while this process waits
for an answer of theirs.
"""

from __future__ import annotations

import os
import threading
from typing import TypeVar

from .._channels._door import Route
from .._objects._objects import Objects
from .._proxies._proxy import Proxy
from .._system import _life
from .._system._bell import Bell
from ..codecs.pickle import ATOMS
from ..transports.pipe import SPIN
from ._direct import Direct
from ._home import Home
from ._openness import Openness

T = TypeVar("T")


class _NobodyServes:
    """Who serves a home without a listener: nobody, so a thread that has to wait only waits."""

    def wait(self, bell: Bell, seconds: float | None, since: float) -> None:
        bell.wait(seconds)

    def wake(self) -> None:
        """Wake nobody."""


class _Lending(Home):
    """The home of what this process lends."""

    def __init__(self) -> None:
        token = _life.token()
        route = Route(token, token, os.getpid(), b"", b"", SPIN)
        openness = Openness(route.pid)
        super().__init__(route, Objects(), openness, Direct(openness, _NobodyServes()))
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: what was lent is the parent's; here, nothing of it can be reached."""
        global _lending  # noqa: PLW0603 - one for each process
        _lending = None
        self.close()


_lending: _Lending | None = None
_making = threading.Lock()


def lending() -> _Lending:
    """Return the home of what this process lends; made when it is first needed."""
    global _lending  # noqa: PLW0603 - one for each process
    with _making:
        if _lending is None:
            _lending = _Lending()
        return _lending


def by_ref(value: T, /) -> T:
    """Return a proxy of anything, so that it travels by reference: a function, a list, a lock.

    It stands in an argument, a result, or a part of one: ``copy(path, by_ref(show_progress))``.
    Who gets it calls the object here: in the thread that waits for the call to which it was
    passed or, later, in any thread of this process that waits for an answer of theirs. It lives for
    as long as they hold it. Here the proxy calls the object directly.

    Args:
        value: anything but a number, a text or the like, which never change and are returned as
            they are. To be reached at any time, share it on a `Listener`.

    Raises:
        SpecError: its class shows nothing that could be called.
    """
    if type(value) in ATOMS or issubclass(type(value), Proxy):
        return value
    proxy: T = lending().lend(value)
    return proxy
