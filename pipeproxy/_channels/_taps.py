"""Taps: where the chaos kit sees the frames of this process and cuts in.

While a block is entered, every channel that is used gets a tap in each direction that matters. It
may be older than the block, so it is tapped when it is used, between two frames. A tap moves one
frame at a time, and a frame in two parts where something is to happen between them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from ._channel import Channel
from ._wire import (
    CLAIM,
    FAREWELL,
    FROM_CLIENT,
    FROM_OWNER,
    HEADER_SIZE,
    HELLO,
    LIMIT,
    RELEASE,
    RETIRE,
    Frame,
    unpack_header,
)

_LEGAL: Final = FROM_CLIENT | FROM_OWNER
#: Frames that nobody asked for: how many there are, and when, is no matter of the program.
_UNCOUNTED: Final = frozenset({HELLO, CLAIM, RELEASE, RETIRE, FAREWELL})


class Block(Protocol):
    """A block that is to be disturbed."""

    @property
    def reads(self) -> bool:
        """Whether it is about the frames that are read, and not those that are written."""

    def place_in(self, size: int) -> int | None:
        """Return after how many bytes of one more frame of `size` bytes to act, if in this one."""

    def act(self) -> None:
        """Do what is to be done."""


class _Tap:
    """One direction of a channel, cut where something is to happen."""

    def __init__(self, move: Callable[[Any], Any], reading: bool) -> None:
        self.move = move
        self.generation = taps.generation
        self._reading = reading
        self._head = b""
        #: Of the frame under way: its size, 0 between two frames; how much of it was moved; and how
        #: much must have been for whom to act.
        self._size = self._place = 0
        self._cuts: list[tuple[int, Block]] = []

    def write(self, data: bytes | memoryview) -> int | None:
        """Write as a pipe does, up to a cut or the end of a frame at once."""
        view, taken = memoryview(data), 0
        while taken < len(view):
            if not self._size:
                self._begin(view[taken : taken + HEADER_SIZE])
            part = view[taken:][: self._room()]
            count = self.move(part) or 0
            taken += count
            self._advance(count)
            if count < len(part):
                break
        return taken or None

    def read(self, size: int) -> bytes | None:
        """Read as a pipe does, up to the end of a header, a cut or the end of a frame at once."""
        data: bytes | None = self.move(min(size, self._room()))
        if data and self._size:
            self._advance(len(data))
        elif data:
            self._head += data
            if len(self._head) >= HEADER_SIZE:
                head, self._head = self._head, b""
                self._begin(head)
                self._advance(HEADER_SIZE)
        return data

    def _rests(self) -> bool:
        return self.generation != taps.generation

    def _begin(self, head: bytes | memoryview) -> None:
        """A frame with this header begins; rest where it is none, as its beginning was not seen."""
        if self._rests():
            return
        size, _, _, _, kind = unpack_header(head) if len(head) == HEADER_SIZE else (0,) * 5
        if kind not in _LEGAL or size > LIMIT:
            self.generation = -1
            return
        self._size, self._place = HEADER_SIZE + size, 0
        if kind not in _UNCOUNTED:
            for block in taps.entered:
                place = block.place_in(self._size) if block.reads is self._reading else None
                if place is not None:
                    self._cuts.append((place, block))
            self._cuts.sort(key=lambda cut: cut[0])
            self._act()

    def _room(self) -> int:
        """How many bytes may be moved before something is to happen or to be seen."""
        if self._rests():
            return sys.maxsize
        if not self._size:
            return HEADER_SIZE - len(self._head)
        return (self._cuts[0][0] if self._cuts else self._size) - self._place

    def _advance(self, count: int) -> None:
        self._place += count
        if self._place >= self._size:
            self._size = 0
        if not self._rests():
            self._act()

    def _act(self) -> None:
        while self._cuts and self._cuts[0][0] <= self._place:
            self._cuts.pop(0)[1].act()


class Taps:
    """The blocks that are entered, and what puts taps on channels meanwhile."""

    def __init__(self) -> None:
        self.entered: tuple[Block, ...] = ()
        #: Taps of another generation rest: they were made before everybody had left.
        self.generation = 0
        self._lock = threading.Lock()
        self._send, self._receive = Channel.send, Channel.receive

    def enter(self, block: Block) -> None:
        with self._lock:
            self.entered += (block,)
            Channel.is_tapped = True
            Channel.send, Channel.receive = _send, _receive  # type: ignore[assignment, method-assign]

    def leave(self, block: Block) -> None:
        with self._lock:
            self.forget(block)

    def forget(self, block: Block) -> None:
        """As `leave`, without the lock: in a forked child another thread may have had it."""
        self.entered = tuple(other for other in self.entered if other is not block)
        if not self.entered:
            self.generation += 1
            Channel.is_tapped = False
            Channel.send, Channel.receive = self._send, self._receive  # type: ignore[method-assign]

    def send(self, channel: Channel, data: bytes | memoryview) -> None:
        if not channel.unsent:
            channel._write = self._tapped(channel._write, reading=False).write
        self._send(channel, data)

    def receive(self, channel: Channel) -> list[Frame] | None:
        if not channel.decoder.missing and any(block.reads for block in self.entered):
            channel.read = self._tapped(channel.read, reading=True).read
        return self._receive(channel)

    def _tapped(self, move: Callable[[Any], Any], reading: bool) -> _Tap:
        tap = getattr(move, "__self__", None)
        if not isinstance(tap, _Tap):
            return _Tap(move, reading)
        return tap if tap.generation == self.generation else _Tap(tap.move, reading)


taps: Final = Taps()


def _send(channel: Channel, data: bytes | memoryview) -> None:
    taps.send(channel, data)


def _receive(channel: Channel) -> list[Frame] | None:
    return taps.receive(channel)
