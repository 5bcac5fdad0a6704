"""Whether a listener answers in this process, for all here that serve it, call it or wait."""

from __future__ import annotations

import os

from ..errors import ListenerClosed


class Openness:
    """Whether one listener answers.

    Args:
        pid: the process that it belongs to.

    Attributes:
        closed: the listener answers no more.
    """

    def __init__(self, pid: int) -> None:
        self.closed = False
        self._pid = pid

    def check(self) -> None:
        """Pass if the listener answers in this process.

        Raises:
            ListenerClosed: it was closed, or belongs to the process that this one was forked from.
        """
        if not self.closed:
            return
        if self._pid != os.getpid():
            raise ListenerClosed(
                f"this listener belongs to process {self._pid}, which serves it; here, in a "
                f"forked child, use the proxies"
            )
        raise ListenerClosed("this listener was closed; share the object again, on a new one")
