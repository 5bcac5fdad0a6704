"""Publishing: the values of attributes are kept in memory where other processes read them.

Nothing is, until a process that has a proxy of a published attribute asks for the memory. From then
on each such attribute that is asked for by a call gets a slot there, and is looked at after every
call that is served, before the reply, and every 50 ms. What is written is what a call would return;
where that cannot be put into a slot, the slot says that it has to be asked for, and each time it is
asked for it is tried again.

What is looked at can be changed meanwhile by another thread, whose look is under way as well. So a
look begins again if another one has written since it began: what is written was seen after all that
was written before, and a reader never sees an attribute go back.
"""

from __future__ import annotations

import sys
import threading
from threading import get_ident
from types import FrameType, MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

from .._chains._residence import Residence
from .._channels import _handover
from .._objects._objects import Objects
from .._objects._publishing import Publishing
from .._references._outgoing import Outgoing
from .._system import _memory, _slots
from .._system._rights import attempt
from .._system._slots import Slot
from ..codecs import pickle as codec
from ..errors import CodecError

if TYPE_CHECKING:
    from .._channels._door import Asking, Route
    from .._system._descriptors import Descriptor

#: What no attribute is: in the place of a value that is not kept, and of one that is missing.
_NOTHING: Final = object()
_MISSING: Final = object()
#: Looks that may be overtaken before an attribute has to be asked for.
_MOST_LOOKS: Final = 10


class Publisher:
    """Publishes what is shared on one listener.

    Args:
        route: the listener's.
        objects: what it answers for.
        residence: knows which thread serves.
    """

    def __init__(self, route: Route, objects: Objects, residence: Residence) -> None:
        self.right = threading.RLock()
        self.objects = objects
        self.route = route
        self._residence = residence
        self._descriptor: Descriptor | None = None
        #: None before anybody asked, when the listener is closed, and in a forked child.
        self.memory: memoryview | None = None
        #: The slots that are free again, and how many were ever used.
        self._free: list[int] = []
        self._used = 0
        objects.publisher = self

    def offer(self, asking: Asking) -> None:
        """Let a process that asked for it read what is published, if there is any memory left."""
        try:
            if self._descriptor is None:
                descriptor, memory = _memory.make(_slots.TOTAL)
                self.memory, self._descriptor = memoryview(memory), descriptor
            _handover.give(asking, self.route.secret, self._descriptor)
        except OSError:
            pass  # who asked is told by the end of the socket, if it is still there

    def note(self, shared: Publishing, args: tuple[Any, ...]) -> None:
        """Publish an attribute from now on, if that is what a call with these arguments read."""
        index = None
        if self.memory is not None and len(args) == 1 and type(args[0]) is str:
            index = shared.members.published.get(args[0])
        if index is None:
            return
        key = _slots.key_of(shared.number, index)
        publication = self.objects.publications.get(key)
        if publication is None:
            with self.right:
                publication = self._begin(shared, args[0], key)
        if publication is not None:
            publication.asks = False

    def _begin(self, shared: Publishing, name: str, key: int) -> Publication | None:
        known: Publication | None = self.objects.publications.get(key)
        if known is not None or self.memory is None:
            return known
        if not self._free:
            if self._used == _slots.COUNT:
                return None
            self._free.append(self._used)
            self._used += 1
        publication = Publication(self, shared, name, key, Slot(self.memory, self._free[-1]))
        publication.place = self._free.pop()
        shared.publications.append(publication)
        self.objects.publications[key] = publication
        return publication

    def end(self, publication: Publication) -> None:
        """Use the slot of an attribute for another one."""
        with self.right:
            if self.objects.publications.pop(publication.key, None) is not None:
                self._free.append(publication.place)

    def look(self) -> None:
        """Publish whatever has changed; whose call runs in another thread is left to that."""
        for publication in list(self.objects.publications.values()):
            if not publication.is_as_it_was():
                self._look_at(publication)

    def _look_at(self, publication: Publication) -> None:
        shared = publication.shared
        face, section = shared.face, shared.section
        if (face.resides or face.is_async) and not self._residence.is_here():
            return
        if section.runs_here():  # a call of it waits, further down this thread's stack
            return
        attempt(section.right, publication.look)
        if section.line or section.holder is not None:
            section.settle()

    def rest(self) -> None:
        """Look at nothing any more until it is asked for again: nobody is known to read it."""
        for publication in list(self.objects.publications.values()):
            publication.end()

    def close(self) -> None:
        """Let everything be asked for, as that tells what has become of the listener."""
        with self.right:
            self.rest()
            self.memory = None
            if self._descriptor is not None:
                self._descriptor.close()

    def forked(self) -> None:
        """In a forked child: the memory is the parent's to write. No lock is taken."""
        self.memory = None
        self.objects.publications.clear()
        if self._descriptor is not None:
            self._descriptor.close()


class Publication:
    """One attribute of one object, and its slot.

    Attributes:
        shared: the object.
        key: what the slot says it is of.
        place: which slot it is.
        asks: the value is not in the slot and has to be asked for; so it is not looked at.
    """

    __slots__ = (
        "_is_plain",
        "_last",
        "_lookers",
        "_name",
        "_payload",
        "_publisher",
        "_slot",
        "_target",
        "_writes",
        "asks",
        "key",
        "place",
        "shared",
    )

    def __init__(
        self, publisher: Publisher, shared: Publishing, name: str, key: int, slot: Slot
    ) -> None:
        self.shared = shared
        self.key = key
        self.place = 0
        self.asks = False
        self._publisher = publisher
        self._target = shared.target
        self._name = name
        self._slot = slot
        self._is_plain = _is_plain(type(shared.target), name)
        #: The value that is in the slot, if it is one that never changes; and how it is there.
        self._last: Any = _NOTHING
        self._payload: bytes | None = None
        self._writes = 0
        self._lookers: set[int] = set()

    def is_as_it_was(self) -> bool:
        """Whether it is certain, without running any code of the object's, that nothing changed."""
        return self.asks or (
            self._is_plain and getattr(self._target, self._name, _MISSING) is self._last
        )

    def look(self) -> None:
        """Publish the value, if it is another one; by whoever may run a call of the object."""
        if self.asks or self._publisher.memory is None:
            return
        if not self._is_plain and self._is_looked_at():
            return
        try:
            self._lookers.add(get_ident())
            for _ in range(_MOST_LOOKS):
                if self._is_settled():
                    return
            while not self._put(None, _NOTHING, self._writes):
                pass
        finally:
            self._lookers.discard(get_ident())

    def _is_looked_at(self) -> bool:
        """Whether this thread is in the middle of a look: reading the value calls the object."""
        if get_ident() not in self._lookers:
            return False
        frame: FrameType | None = sys._getframe(
            2
        )  # for the note may be one that an interrupt has left behind
        while frame is not None:
            if frame.f_code is _LOOK and frame.f_locals["self"] is self:
                return True
            frame = frame.f_back
        return False

    def _is_settled(self) -> bool:
        """Look once; return whether nobody else has written since that began."""
        writes = self._writes
        value = self._value()
        if value is self._last and value is not _NOTHING:
            return True
        payload = None if value is _NOTHING else self._encode(value)
        return self._put(payload, value if type(value) in codec.ATOMS else _NOTHING, writes)

    def _value(self) -> Any:
        """Return the value, or `_NOTHING` if reading it raises something."""
        try:
            return getattr(self._target, self._name)
        except BaseException as error:
            once = error
        try:
            getattr(self._target, self._name)
        except BaseException:
            return _NOTHING
        try:
            raise once  # a signal handler's, most likely
        finally:
            del once  # else the frame in its own traceback would keep it alive

    def _encode(self, value: Any) -> bytes | None:
        """Return the value as a call would return it, or None if that is not for a slot."""
        if type(value) in codec.ATOMS:
            payload = codec.encode(value)
        else:
            copies = _Copies(tuple(self._publisher.route), self._publisher.objects)
            try:
                payload = codec.encode(value, copies.refer)
            except CodecError:
                return None
            if copies.refers:
                return None
        return payload if len(payload) <= _slots.ROOM else None

    def _put(self, payload: bytes | None, last: Any, writes: int) -> bool:
        """Write what the slot is to hold, unless it does; False if others wrote since `writes`."""
        right: Any = self._publisher.right
        if right._is_owned():  # in the middle of a write, for a signal handler: it goes on later
            self._writes += 1
            return True
        with right:
            if self._publisher.memory is None:
                return True
            if self._writes != writes:
                return False
            if payload is None or payload != self._payload:
                # In this order: whatever is left half done is done by the next look.
                self._writes = writes + 1
                self._last, self._payload = _NOTHING, None
                self._slot.write(self.key, payload)
                if self._writes != writes + 1:
                    return False
                self._payload = payload
            self._last = last
            self.asks = payload is None
            return True

    def end(self) -> None:
        """Publish it no more."""
        if self._publisher.memory is None:
            return  # all has ended; or this is a forked child, where nobody may ever give the right
        with self._publisher.right:
            self.asks = True
            self._last, self._payload = _NOTHING, None
            self._writes += 1
            self._slot.write(0, None)
            if self in self.shared.publications:
                self.shared.publications.remove(self)
            self._publisher.end(self)


_LOOK: Final = Publication.look.__code__


class _Copies(Outgoing):
    """Asked as a reply is how a value travels; what would by reference is noted, and not lent.

    Attributes:
        refers: something of it would.
    """

    __slots__ = ("refers",)

    def __init__(self, route: tuple[Any, ...], objects: Objects) -> None:
        super().__init__(route, objects, None, 0)
        self.refers = False

    def _note(self, value: object) -> Any:
        self.refers = True
        return tuple, ()

    _lend = _pass_on = _stream = _note  # type: ignore[assignment]  # names of parameters


def _is_plain(cls: type[Any], name: str) -> bool:
    """Whether to read an attribute runs no code of the class's."""
    lineage = cls.__mro__[:-1]
    if any({"__getattr__", "__getattribute__"} & vars(base).keys() for base in lineage):
        return False
    for base in lineage:
        if name in vars(base):
            kind = type(vars(base)[name])
            return kind is MemberDescriptorType or not hasattr(kind, "__get__")
    return True
