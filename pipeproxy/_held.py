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

from . import _life
from ._wire import CLAIM, GIVEN_BACK, RELEASE, header, pack_pairs

#: In a release, in the place of a number: all that came with a reply.
ALL: Final = 0


#: Numbers of what this process says, to any owner: by them that knows what came with which reply.
idents: Final = count(1)


class Held(weakref.ref[Any]):
    """A weak reference to what stands for an object here.

    Attributes:
        number: the object's.
        ident: the call whose reply, or the claim, by which this process holds the object.
        kept: it is held for as long as this process lives.
    """

    __slots__ = ("ident", "kept", "number")

    number: int
    ident: int
    kept: bool


def _hold(value: Any, ended: Callable[[Held], object], number: int, ident: int) -> Held:
    held = Held(value, ended)
    held.number, held.ident, held.kept = number, ident, False
    return held


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

    def find(self, number: int, make: Callable[[], Any], ident: int = 0) -> tuple[Any, Held | None]:
        """Return what stands for an object; with its reference if it had to be made."""
        with self._right:
            held = self._held.get(number)
            value = None if held is None else held()
            if value is not None:
                return value, None
            value = make()
            held = self._held[number] = _hold(value, self.ended.append, number, ident)
            return value, held

    def keep(self, number: int) -> None:
        """Hold an object for as long as this process lives: somebody may come to hold it by this.

        It was pickled, and nobody knows when it will be unpickled.
        """
        held = self._held.get(number)
        if held is not None:
            held.kept = True

    def keep_all(self) -> None:
        """Hold all for as long as this process lives: it was forked, and its child holds them."""
        for held in list(self._held.values()):
            held.kept = True

    def bury(self) -> Iterator[Held]:
        """Yield what has ended, until it was seen to; and forget it."""
        while self.ended:
            held = self.ended[0]
            if not held.kept:
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
    """

    def __init__(self) -> None:
        super().__init__()
        #: Claims and releases, of which the owner may not know.
        self._untold: dict[tuple[int, int, int], None] = {}
        _life.after_fork(self)

    def receive(self, number: int, make: Callable[[], Any], ident: int) -> Any:
        """Return what stands for an object whose reference arrived.

        Args:
            ident: the call whose reply it came with; 0 if it came otherwise.
        """
        granted = ident or next(idents)  # a claim's own, by which the owner may hear it twice
        value, made = self.find(number, make, granted)
        if made and not ident:
            self._untold[CLAIM, granted, number] = None
        elif ident and not made:
            self._untold[RELEASE, ident, number] = None  # it holds it already
        return value

    def abandon(self, ident: int) -> None:
        """Want nothing of what the reply to a call holds, whether it has come or will."""
        self._untold[RELEASE, ident, ALL] = None

    def forked(self) -> None:
        """In a forked child: claim what it inherited. What its parent was to tell is not its own.

        No lock is taken: another thread of the parent's may hold it.
        """
        self._right = threading.RLock()
        self.ended.clear()
        self._untold = {}
        for held, _ in self:
            held.kept = False
            held.ident = next(idents)
            self._untold[CLAIM, held.ident, held.number] = None

    def is_empty(self) -> bool:
        """Whether nothing is held and nothing is to be told."""
        return not self._held and self.is_quiet()

    def is_quiet(self) -> bool:
        """Whether there is nothing to be told."""
        return not self.ended and not self._untold

    def news(self) -> tuple[list[tuple[int, int, int]], bytes]:
        """Return what the owner is to be told, and the frames that tell it."""
        for held in self.bury():
            self._untold[RELEASE, held.ident, held.number] = None
        news = list(self._untold)
        told = b""
        for kind in (CLAIM, RELEASE):
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
            self._untold.pop(item, None)
