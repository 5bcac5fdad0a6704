"""The voice: what an owner says to its clients beside replies.

Any thread of the owner's may have something to say; the one that takes a turn says it. If that is
left in the middle by an exception — a signal handler raised — whoever was to hear it is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .._objects._clients import Client
from .._system import _descriptors
from ._caller import Caller


class Voice:
    """What is said on the channels of one listener's clients.

    Args:
        alert: lets what is new be seen: returns True if this thread takes a turn just now, or its
            event loop does so and it is between two, and else wakes the one that does.
        ready: takes callers that are to be attended to.
        balance: waits for what a channel needs now.

    Attributes:
        news: what is to be said: there is nothing if all of it is empty.
        is_heard: something was said just now, so an answer is likely to be a moment away.
    """

    def __init__(
        self,
        alert: Callable[..., bool],
        ready: deque[Caller],
        balance: Callable[[Caller], object],
    ) -> None:
        self._alert, self._ready, self._balance = alert, ready, balance
        self._said: deque[tuple[Caller, bytes]] = deque()
        self._sought: deque[Client] = deque()
        self.news = self._said, self._sought
        self.is_heard = False

    def say(self, caller: Caller, data: bytes) -> None:
        """Send frames to a client; any thread may."""
        self._said.append((caller, data))
        self._be_heard()

    def seek(self, client: Client) -> None:
        """Send what is wanted of a client, if a thread of it waits now; any thread may ask for it.

        Else it is sent on the channel of the first that calls.
        """
        self._sought.append(client)
        self._be_heard()

    def _be_heard(self) -> None:
        if self._alert(between=True):
            self.speak()
            self.is_heard = True

    def speak(self) -> None:
        """Send all that is to be said."""
        while self._said:
            caller, data = self._said[0]
            try:
                self._said.popleft()
                with _descriptors.lock:  # see `_workers`
                    if not caller.pipe.closed:
                        caller.send(data)
                        self._balance(caller)
            except BaseException:
                self._cut(caller)
                raise
        while self._sought:
            channels: list[Caller] = list(self._sought[0].channels)
            for caller in channels:
                self.hand_up(caller)
                self._balance(caller)
            self._sought.popleft()

    def hand_up(self, caller: Caller) -> None:
        """Send on this channel what is wanted of its process, if its thread waits."""
        try:
            with _descriptors.lock:  # see `_workers`
                _send_wanted(caller)
        except BaseException:
            self._cut(caller)
            raise

    def _cut(self, caller: Caller) -> None:
        caller.ended = True
        self._ready.append(caller)


# Apart from its caller, as a loop inside a `with` is in part outside of it.
def _send_wanted(caller: Caller) -> None:
    while caller.is_waited_for() and (asked := next_wanted(caller)):
        caller.send(asked.frames())


def next_wanted(caller: Caller) -> Any:
    """Return an upcall that is wanted of a process, to be sent on this channel; None if none is."""
    wanted: deque[Any] = caller.client.wanted
    for asked in list(wanted):
        is_taken = asked.take(caller)
        discard(wanted, asked)
        if is_taken:
            return asked
    return None


def discard(wanted: deque[Any], asked: Any) -> None:
    """Want an upcall no more; a second time does nothing."""
    try:
        wanted.remove(asked)
    except ValueError:
        pass  # another thread did
