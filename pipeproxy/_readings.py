"""Reading what an owner publishes: from its memory, without a call.

The last value of an attribute is kept with the version of its slot, and is right for as long as the
slot has that. (Only atoms are kept: of anything else every reader gets a copy of its own.) But a
dead owner changes no version any more. So what is kept is handed out a number of times only; then
there is a look whether the owner lives, or was one less than 50 ms ago. That number is 1, and it
doubles as long as it is used up in no time: who reads all the time does not look at a clock each
time, and who reads now and then does.

Whatever cannot be read here is asked for: `Readings.read` raises AttributeError, upon which Python
turns to ``__getattr__`` of the proxy, and that makes the call.
"""

from __future__ import annotations

import os
from itertools import repeat
from time import monotonic
from typing import Any, Final

from . import _life, _memory, _slots
from ._door import Route
from ._handover import End, ask, take
from ._lines import Lines
from ._slots import Slot
from .codecs import pickle as codec
from .errors import CodecError, ProtocolError

#: Seconds between two looks whether the owner lives.
_LOOK_EVERY: Final = 0.05
#: How often a value is handed out, at most, without a look at the clock; and in how many seconds
#: it must have been for that number to grow.
_MOST: Final = 256
_BRISK: Final = 0.001
#: Seconds until a memory is asked for again that the owner could not make.
_AGAIN: Final = 1.0


class _Reading:
    """One attribute of one object, as it is read here.

    Attributes:
        slot: where it is.
        times: how often the latest value is handed out without a look at the clock.
        since: when it was looked at.
    """

    __slots__ = ("since", "slot", "times")

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.times = 1
        self.since = 0.0

    def pace(self, now: float) -> int:
        """Return how often the value is handed out now."""
        self.times = min(2 * self.times, _MOST) if now - self.since < _BRISK else 1
        self.since = now
        return self.times


class Readings:
    """What this process reads of one owner.

    Args:
        route: the owner's.
        lines: the channels to it.
    """

    def __init__(self, route: Route, lines: Lines) -> None:
        self._route = route
        self._lines = lines
        self._memory: memoryview | None = None
        self._asked: tuple[End, bytes] | None = None
        self._look_at = self._ask_at = 0.0
        self._known: dict[int, _Reading] = {}
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: what is asked for will be the parent's; memory is this one's, too."""
        self._asked = None

    def read(self, number: int, index: int, latest: list[Any]) -> Any:
        """Return the value of an attribute.

        Args:
            number: that of the object.
            index: that of the attribute.
            latest: where the value is kept, at that index: the word of the version, the version,
                and an iterator that yields the value as often as it may be handed out.

        Raises:
            AttributeError: it has to be asked for.
        """
        now = monotonic()
        memory = self._memory or self._open(now)
        if memory is None or not self._is_alive(now):
            raise AttributeError("there is no memory to read it from")
        key = _slots.key_of(number, index)
        reading = self._known.get(key) or self._find(memory, key)
        found = None if reading is None else reading.slot.read(key)
        if reading is None or found is None:
            self._known.pop(key, None)
            raise AttributeError("it is in no slot")
        version, payload = found
        if payload is None:
            raise AttributeError("it cannot be in a slot")
        try:
            value = codec.decode(payload)
        except CodecError:  # the call says of what it is
            raise AttributeError("it cannot be rebuilt here") from None
        if type(value) in codec.ATOMS:
            latest[index] = reading.slot.word, version, repeat(value, reading.pace(now))
        return value

    def _find(self, memory: memoryview, key: int) -> _Reading | None:
        place = _slots.find(memory, key)
        if place is None:
            return None
        if len(self._known) >= _slots.COUNT:  # most were of objects that are gone
            self._known.clear()
        reading = self._known[key] = _Reading(Slot(memory, place))
        return reading

    def _is_alive(self, now: float) -> bool:
        """Whether the owner lives, or did a moment ago; its memory outlives it."""
        if now >= self._look_at:
            if self._lines.is_dead():
                return False
            self._look_at = now + _LOOK_EVERY
        return True

    def _open(self, now: float) -> memoryview | None:
        """Return the owner's memory once it has come; ask for it, and do not wait."""
        asked = self._asked
        if asked is None:
            if now >= self._ask_at:
                self._ask()
            return None
        end, nonce = asked
        try:
            descriptor = take(end, self._route, nonce)
            if descriptor is None:
                return None
            self._memory = memoryview(_memory.look_into(descriptor, _slots.TOTAL))
        except (EOFError, OSError, ProtocolError):
            self._ask_at = now + _AGAIN
        self._asked = None
        return self._memory

    def _ask(self) -> None:
        nonce = os.urandom(16)
        try:
            end = ask(self._lines.door(), self._route, nonce)
        except OSError:
            return  # the call that is made instead tells
        if end is not None:
            self._asked = end, nonce
