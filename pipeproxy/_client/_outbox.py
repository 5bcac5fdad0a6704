"""What a thread sends without waiting for replies: frames are gathered, few writes for many.

A signal handler may raise between any two steps of the thread. So bytes are written and counted in
one C call, and a step that was left half done is done again by whoever comes next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import repeat, starmap
from typing import Any, Final

from .._channels._wire import pack_batch
from .._system._rights import attempt
from ._asking import Pending
from ._held import Holdings
from ._lines import Line

#: Bytes that one batch may have; a single frame may have more.
_LARGEST_BATCH: Final = 1 << 20


class Outbox:
    """What one thread sends on its line; others may write it as well, one at a time.

    Args:
        line: which nothing else is under way on.
        held: what this process holds of the owner, which is told of it with the calls.

    Attributes:
        line: as given.
        waiting: what is to be written, each with whoever wants the reply; any thread may append.
        pending: what was sent and not answered, by ident.
        over: nothing is in flight any more, and the line is the thread's alone; or it is lost.
        kept: until when what is to be sent may be kept back, to be sent with more; None for no
            longer.
        is_blocked: the pipe did not take all of what was written last.
    """

    def __init__(self, line: Line, held: Holdings) -> None:
        self.line = line
        self.waiting: deque[tuple[bytes, Pending | None]] = deque()
        self.pending: dict[int, Pending] = {}
        self.over = False
        self.kept: float | None = None
        self.is_blocked = False
        self._held = held
        #: What the owner is told with which call.
        self._told: dict[int, list[tuple[int, int, int]]] = {}
        #: Had by whoever touches the line.
        self._right: Any = threading.RLock()
        #: What is being written, how much each write took, and what comes next; all in one, as they
        #: change in one.
        self._state: tuple[bytes, list[int | None], list[tuple[bytes, Pending | None]]]
        self._state = b"", [], []

    def write(self) -> None:
        """Write as much as the pipe takes now, if no other thread does."""
        self.kept = None  # first: what comes from here on is kept anew
        while self.is_unsent() and not self.is_in_hand():
            if attempt(self._right, self._write_once) is not True:
                return

    def _write_once(self) -> bool:
        """Write once; return whether the pipe may take more."""
        if self.over:
            return False
        data, written, coming = self._state
        done = sum(filter(None, written))
        if done == len(data):
            # One C call, so that nothing is taken out and lost.
            coming.extend(starmap(self.waiting.popleft, repeat((), len(self.waiting))))
            data, written, coming = self._state = self._gather(coming)
            done = 0
        try:
            self.line.write_once(memoryview(data)[done:] if done else data, written)
        except (OSError, ValueError):
            # The other end is closed, or this one: whoever reads learns it as well.
            self._state = b"", [], coming
            return False
        self.is_blocked = sum(filter(None, written)) != len(data) and not self.line.pipe.enlarge()
        return not self.is_blocked

    def _gather(
        self, coming: list[tuple[bytes, Pending | None]]
    ) -> tuple[bytes, list[int | None], list[tuple[bytes, Pending | None]]]:
        """Return what is to be written next, nothing of it written, and what comes after that."""
        frames: list[bytes] = []
        size = taken = 0
        wants: Pending | None = None
        for frame, pending in coming:
            if frames and size + len(frame) > _LARGEST_BATCH:
                break
            taken += 1
            if pending is not None:
                self.pending[pending.ident] = pending  # first: its reply may come at once
                if not pending.begin():
                    del self.pending[pending.ident]
                    continue
                wants = pending
            frames.append(frame)
            size += len(frame)
        told = b""
        if wants is not None and not self._held.is_quiet():
            self._told[wants.ident], told = self._held.news()
        return told + (pack_batch(frames) if frames else b""), [], coming[taken:]

    def is_unsent(self) -> bool:
        """Whether something waits to be written."""
        data, written, coming = self._state
        return bool(self.waiting or coming) or sum(filter(None, written)) != len(data)

    def is_in_hand(self) -> bool:
        """Whether this thread is in the middle of a write, further down its stack."""
        return bool(self._right._is_owned())

    def forget(self, pending: Pending) -> None:
        """Want no reply any more to a call; it is not sent, if it was not yet."""
        with self._right:  # held by whoever sends it
            pending.gone = True
        self.pending.pop(pending.ident, None)

    def _empty(self) -> Iterator[tuple[bytes, Pending | None]]:
        while True:  # another thread may do the same
            try:
                yield self.waiting.popleft()
            except IndexError:
                return

    def _abandon(self) -> list[Pending]:
        """Return whoever will get no reply, and know of them no more."""
        rest = [*self._state[2], *self._empty()]
        calls = [*(call for _, call in rest if call is not None), *list(self.pending.values())]
        self.pending.clear()
        return calls

    def _all(self) -> list[Pending]:
        # In the order in which calls go through them, so that none is missed that moves on.
        unsent = [*list(self.waiting), *self._state[2]]
        return [*(call for _, call in unsent if call is not None), *list(self.pending.values())]

    def forked(self) -> None:
        """In a forked child: all that is in flight is the parent's."""
        self.over = True
        for pending in self._all():
            pending.forked()
        self.waiting.clear()
        self._state = b"", [], []
