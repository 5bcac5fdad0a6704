"""Reading what an owner publishes: from its memory, without a call.

The last value of an attribute is kept with the version of its slot, and is right for as long as the
slot has that. (Only atoms are kept: of anything else every reader gets a copy of its own.) But a
dead owner changes no version any more. So the courier waits for its death and then lets go of the
words that hold the versions, which to look at is an error from there on. Where the system has no
life descriptors nothing is kept, and each read looks whether the owner lives.

Whatever cannot be read here is asked for: `Readings.read` raises AttributeError, upon which Python
turns to ``__getattr__`` of the proxy, and that makes the call.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Any, Final

from .._channels._door import Route
from .._channels._handover import End, ask, take
from .._system import _life, _memory, _slots
from .._system._slots import Slot
from ..codecs import pickle as codec
from ..errors import CodecError, ProtocolError
from ._courier import courier
from ._way import Way

#: Seconds until a memory is asked for again that the owner could not make.
_AGAIN: Final = 1.0


class Readings:
    """What this process reads of one owner.

    Args:
        route: the owner's.
        way: the way to it.
    """

    def __init__(self, route: Route, way: Way) -> None:
        self._route = route
        self._way = way
        self._memory: memoryview | None = None
        self._asked: tuple[End, bytes] | None = None
        self._ask_at = 0.0
        self._is_watched = False
        #: All slots of which something may be kept, by place; and the places of attributes.
        self._slots: dict[int, Slot] = {}
        self._places: dict[int, int] = {}
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: what is asked for will be the parent's; memory is this one's, too."""
        self._asked = None
        self._forget()  # as nobody waits here for the death of the owner
        self._is_watched = False

    def _forget(self) -> None:
        """Let nothing that is kept be handed out any more."""
        while self._slots:
            self._slots.popitem()[1].word.release()

    def read(self, number: int, index: int, latest: list[Any]) -> Any:
        """Return the value of an attribute.

        Args:
            number: that of the object.
            index: that of the attribute.
            latest: where the value is kept, at that index: the word of the version, the version,
                and the value.

        Raises:
            AttributeError: it has to be asked for.
        """
        memory = self._memory or self._open(monotonic())
        if memory is None or self._way.is_dead():
            raise AttributeError("there is no memory to read it from")
        key = _slots.key_of(number, index)
        slot = self._find(memory, key)
        found = None if slot is None else slot.read(key)
        if slot is None or found is None:
            self._places.pop(key, None)
            raise AttributeError("it is in no slot")
        version, payload = found
        if payload is None:
            raise AttributeError("it cannot be in a slot")
        try:
            value = codec.decode(payload)
        except CodecError:  # the call says of what it is
            raise AttributeError("it cannot be rebuilt here") from None
        if type(value) in codec.ATOMS and self._watch():
            latest[index] = slot.word, version, value
        return value

    def _find(self, memory: memoryview, key: int) -> Slot | None:
        place = self._places.get(key)
        if place is None:
            place = _slots.find(memory, key)
            if place is None:
                return None
            if len(self._places) >= _slots.COUNT:  # most were of objects that are gone
                self._places.clear()
            self._places[key] = place
        slot = self._slots.get(place)
        return self._slots.setdefault(place, Slot(memory, place)) if slot is None else slot

    def _watch(self) -> bool:
        """Let what is kept be forgotten once the owner is dead; return False if none could tell."""
        if not self._is_watched:
            life = self._way.watch()
            if life is not None:
                courier.watch(life, self._forget)
                self._is_watched = True
        return self._is_watched

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
            end = ask(self._way.door(), self._route, nonce)
        except OSError:
            return  # the call that is made instead tells
        if end is not None:
            self._asked = end, nonce
