"""What a process holds of the objects of a listener: each once, and until it is no more.

No finalizer of ours is Python code: what a signal handler raised in one would be lost. A weak
reference whose callback is the `append` of a deque notes the end; whoever speaks to the owner next
tells it.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from .._channels._wire import CLAIM, GIVEN_BACK, RELEASE, RETIRE, UP, header, pack_pairs
from .._system import _life

#: In a release, in the place of a number: all that came with a reply.
ALL: Final = 0


#: Numbers of what this process says, to any owner, which knows by them what came with which reply.
idents: Final = count(1)


class Held(weakref.ref[Any]):
    """A weak reference to what stands for an object here.

    Attributes:
        number: the object's.
        ident: the call whose reply, or the claim, by which this process holds the object.
        kept: it is held for as long as this process lives.
        forks: the forks that there were before.
    """

    # Of this object and not of what it refers to, which may be no more when it is first asked for.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    # As long as nothing else is known: an interrupt may leave it so.
    number = ident = forks = 0
    kept = True

    def is_kept(self) -> bool:
        """Whether it is held for as long as this process lives, as others may rely on that.

        It was pickled, and nobody knows when it will be unpickled; or a child was forked, and
        nobody knows when that claims what it inherited.
        """
        return self.kept or self.forks != len(_life.forks)


class Known:
    """What stands for the objects of one listener in this process, by number.

    Attributes:
        ended: what was held and is no more, in no particular order.
    """

    def __init__(self) -> None:
        self.ended: deque[Held] = deque()
        self._held: dict[int, Held] = {}
        self._right = threading.RLock()

    def __iter__(self) -> Iterator[tuple[Held, Any]]:
        for held in list(self._held.values()):
            value = held()
            if value is not None:
                yield held, value

    def get(self, number: int) -> tuple[Any, Held | None]:
        """Return what stands for an object, and its reference; None if nothing does."""
        held = self._held.get(number)
        return (None if held is None else held()), held

    def find(self, number: int, make: Callable[[], Any], ident: int = 0) -> tuple[Any, Held]:
        """Return what stands for an object, and its reference; made by this ident if need be."""
        found, held = self.get(number)
        if found is not None and held is not None:
            return found, held
        # Not under the right: who knows what it runs, and what that waits for.
        value = make()
        new = Held(value, self.ended.append)
        new.number, new.ident, new.forks, new.kept = number, ident, len(_life.forks), False
        with self._right:
            found, held = self.get(number)
            if found is not None and held is not None:
                return found, held  # another thread was faster; what was made ends
            self._held[number] = new
        return value, new

    def let_go(self, number: int, value: object) -> Held | None:
        """Forget what stands for an object, though it lives; it is not to be used any more.

        Returns:
            Its reference, if the object is to be given back.
        """
        found, held = self.get(number)
        if found is not value or held is None:
            return None
        with self._right:
            if self._held.get(number) is held:
                del self._held[number]
        return None if held.is_kept() else held

    def keep(self, number: int) -> None:
        """Hold an object for as long as this process lives: it is pickled."""
        held = self._held.get(number)
        if held is not None:
            held.kept = True

    def bury(self) -> Iterator[Held]:
        """Yield what has ended, until it was seen to; and forget it."""
        for held in list(self.ended):
            if not held.is_kept():
                yield held
            with self._right:
                if self._held.get(held.number) is held:
                    del self._held[held.number]
            try:
                self.ended.remove(held)
            except ValueError:
                pass  # another thread did


class Holdings(Known):
    """The same where the listener is another process's, which is to know of it.

    What the owner was not told with certainty is told again: that does no harm. Nothing is told
    but with a call: dropping a proxy never waits.

    Attributes:
        untold: claims and releases, and segments given up, of which the owner may not know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.untold: dict[tuple[int, int, int], None] = {}
        #: Idents up to this one are those of the process that this one was forked from.
        self._inherited = 0
        self._over = False

    def end(self) -> None:
        """Heed that the process of the listener cannot be told anything any more."""
        self._over = True

    def receive(self, number: int, make: Callable[[], Any], ident: int) -> Any:
        """Return what stands for an object whose reference arrived.

        Args:
            ident: the call whose reply it came with, or what its lender chose; 0 for neither.
        """
        if ident & ~UP <= self._inherited:  # also if this process was forked as it read the reply
            return self._claim(number, make)
        value, held = self.find(number, make, ident)
        if held.ident != ident:
            self.untold[RELEASE, ident, number] = None  # it holds it already
        return value

    def _claim(self, number: int, make: Callable[[], Any]) -> Any:
        value, _ = self.get(number)
        if value is not None:
            return value
        ident = next(idents)  # its own: the owner may hear it twice, and after its release
        try:
            self.untold[CLAIM, ident, number] = None
            value, held = self.find(number, make, ident)
            if held.ident != ident:
                self.untold[RELEASE, ident, number] = None
        except BaseException:
            self.abandon(ident)
            raise
        return value

    def let_go(self, number: int, value: object) -> Held | None:
        found, held = self.get(number)
        if found is value and held is not None and not held.is_kept():
            self.untold[RELEASE, held.ident, number] = None  # first, for an interrupt
        return super().let_go(number, value)

    def abandon(self, ident: int, *, came: bool = True) -> None:
        """Want nothing of what the reply to a call holds.

        Args:
            came: the reply has come, so somebody may have got something of it already.
        """
        for held, _ in self if came else ():
            if held.ident == ident:
                held.ident = next(idents)
                self.untold[CLAIM, held.ident, held.number] = None
        self.untold[RELEASE, ident, ALL] = None

    def retire(self, number: int) -> None:
        """Let the owner know that a segment of this process was given up."""
        self.untold[RETIRE, number, 0] = None

    def forked(self) -> None:
        """In a forked child: claim what it inherited. What its parent was to tell is not its own.

        No lock is taken: another thread of the parent's may hold it.
        """
        self._right = threading.RLock()
        self.ended.clear()
        self._held = {held.number: held for held, _ in self}
        self.untold.clear()
        for held in self._held.values():
            held.kept, held.forks, held.ident = False, len(_life.forks), next(idents)
            self.untold[CLAIM, held.ident, held.number] = None
        self._inherited = next(idents)

    def is_empty(self) -> bool:
        """Whether nothing is held and nothing is to be told, or there is nobody to tell."""
        return self._over or (not self._held and self.is_quiet())

    def is_quiet(self) -> bool:
        """Whether there is nothing to be told."""
        return not self.ended and not self.untold

    def news(self) -> tuple[list[tuple[int, int, int]], bytes]:
        """Return what the owner is to be told, and the frames that tell it."""
        for held in self.bury():
            _, other = self.get(held.number)
            if other is None or other is held or other.ident != held.ident:
                self.untold[RELEASE, held.ident, held.number] = None
        news = list(self.untold)
        told = b""
        for kind in (CLAIM, RELEASE, RETIRE):
            payload = pack_pairs([pair for what, *pair in news if what == kind])
            if payload:
                told += header(kind, len(payload)) + payload
        return news, told

    def news_for(self, listener: bytes) -> tuple[list[tuple[int, int, int]], bytes]:
        """As `news`, for a listener of a process that is called as it waits, by its identity."""
        if self.is_quiet():
            return [], b""
        news, _ = self.news()
        told = b""
        for kind in (CLAIM, RELEASE):
            pairs = pack_pairs([pair for what, *pair in news if what == kind])
            if pairs:
                told += header(GIVEN_BACK, len(listener + pairs), member=kind) + listener + pairs
        return news, told

    def told(self, news: list[tuple[int, int, int]]) -> None:
        """Note that the owner knows: it has answered what was said after it."""
        for item in news:
            self.untold.pop(item, None)
