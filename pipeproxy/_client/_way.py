"""The way to one listener: whether it is open, and what it means that it is not any more.

That a pipe has ended tells little: its owner may be dead, its listener closed, or this channel be
the only one that was cut. The owner's life descriptor knows, and whether somebody is at the door.
"""

from __future__ import annotations

from typing import Any, Final

from .._channels import _door
from .._channels._channel import Channel
from .._channels._door import Route
from .._system import _life
from .._system._descriptors import Descriptor
from ..errors import CallLost, ListenerClosed, OwnerDied
from ..transports.pipe import is_broken, wait_for

#: Seconds that a process takes, at most, to be seen dead after its pipes were closed.
_DYING: Final = 0.2


class Way:
    """The way to one listener.

    Args:
        route: how to reach it.
        lobby: the inherited door, in a forked child.
        life: the inherited life descriptor of the owner, in a forked child.
    """

    def __init__(self, route: Route, lobby: Any = None, life: Descriptor | None = None) -> None:
        self.route = route
        self._lobby = lobby
        self._life = life
        self._farewell = False

    def watch(self) -> Descriptor | None:
        """Return the owner's life descriptor; None where the system has none.

        Raises:
            OwnerDied: it is dead.
        """
        if self._life is None:
            try:
                self._life = _life.watch(self.route.pid)
            except ProcessLookupError:
                raise self.died() from None
        return self._life

    def is_open(self) -> bool:
        """Whether the owner may answer still, as far as is known without asking it."""
        if self._farewell or (self._life is not None and _life.is_dead(self._life)):
            return False
        return not self._is_shut() if self.route.address else _life.exists(self.route.pid)

    def is_dead(self) -> bool:
        """Whether the owner is seen to be dead."""
        if self._life is None:
            return not _life.exists(self.route.pid)
        return _life.is_dead(self._life)

    def lives(self) -> set[tuple[int, bool]]:
        """Return what tells, as `wait_for` takes it, that the owner is dead."""
        return set() if self._life is None else {(self._life.fileno(), False)}

    def door(self) -> Any:
        """Return a socket to knock with.

        Raises:
            ConnectionError, FileNotFoundError: nobody answers there any more.
        """
        return self._lobby or _door.knocker(self.route.address)

    def check(self, line: Channel) -> None:
        """Pass if an answer can still come on this line.

        Raises:
            OwnerDied, ListenerClosed, CallLost: none can, and whatever did was read.
        """
        is_dead = _life.is_dead(self._life)
        if (is_dead or is_broken(line.pipe.writer)) and not wait_for(
            (line.pipe.reader, False), timeout=0
        ):
            raise self.died() if is_dead else self.hung_up()

    def hung_up(self) -> Exception:
        """What it means that a line ended without a farewell, with a call under way."""
        if self._is_dead_soon():
            return self.died()
        if self._is_shut():
            return self.closed()
        return CallLost(
            f"process {self.route.pid}, which holds the object, cut this channel; "
            f"the call may have run"
        )

    def died(self) -> OwnerDied:
        """The end of the owner, as far as it is known."""
        return OwnerDied(_life.obituary(self.route.listener, self.route.pid))

    def closed(self) -> OwnerDied | ListenerClosed:
        """What it means that the owner said farewell, or is not at its door."""
        if _life.is_dead(self._life):
            return self.died()
        return ListenerClosed(
            f"the listener in process {self.route.pid} that answered for this object was closed; "
            f"keep it open (and served) for as long as others use the object"
        )

    def gone(self) -> OwnerDied | ListenerClosed:
        """What it means that nobody is at the door, where a process that ends is not any more."""
        return self.died() if self._is_dead_soon() else self.closed()

    def _is_shut(self) -> bool:
        """Whether the owner takes no more knocks."""
        try:
            _door.knocker(self.route.address).close()
        except (ConnectionError, FileNotFoundError):
            return True
        return False

    def _is_dead_soon(self) -> bool:
        """Whether the owner is dead; its pipes are closed a moment before that can be seen."""
        if self._life is None:
            return not _life.exists(self.route.pid)
        return bool(wait_for((self._life.fileno(), False), timeout=_DYING))
