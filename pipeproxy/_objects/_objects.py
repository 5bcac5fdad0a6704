"""The owner's memory: its objects, and who holds them.

What a client holds is given up when it says so, or when its process is dead; what a proxy of this
process holds, when that is no more.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any, Final

from .._system import _life
from ..errors import Released
from ._clients import Client
from ._subjects import Shared

#: What holds an object that was shared by name.
FOR_GOOD: Final = "for good"


class Objects:
    """What one listener answers for: every object for as long as somebody holds it.

    Attributes:
        clients: the processes that can hold objects, by their tokens.
        by_number: what is shared, by number; to look at only.
        publisher: what publishes attributes of them; None if nothing does.
        publications: what it publishes.
    """

    def __init__(self) -> None:
        self.publisher: Any = None
        self.publications: dict[int, Any] = {}
        self.clients: dict[bytes, Client] = {}
        self.by_number: dict[int, Shared] = {}
        self._by_identity: dict[int, Shared] = {}
        #: What holds each object: clients with an ident, proxies of this process, `FOR_GOOD`.
        self._holders: dict[int, set[object]] = {}
        self._right = threading.RLock()
        _everywhere.all.add(self)

    def client(self, token: bytes) -> Client:
        """Return what is known of a process that holds objects, or will."""
        client = self.clients.get(token)
        return self.clients.setdefault(token, Client(token)) if client is None else client

    def __iter__(self) -> Iterator[Shared]:
        return iter(list(self.by_number.values()))

    def __len__(self) -> int:
        return len(self.by_number)

    def find(self, number: int) -> Shared:
        """Return the object of this number.

        Raises:
            Released: there is none, or none any more.
        """
        try:
            return self.by_number[number]
        except KeyError:
            raise Released(f"object {number} was given back, or never shared here") from None

    def of(self, target: object) -> Shared | None:
        """Return how `target` itself is shared, or None."""
        shared = self._by_identity.get(id(target))
        return shared if shared is not None and shared.target is target else None

    def add(self, shared: Shared, holder: object = FOR_GOOD) -> Shared:
        """Let a holder hold an object, which is shared from now on if it was not before.

        Returns:
            How it is shared: as `shared` says, or as it was before. An object has one section.
        """
        with self._right:
            if self.of(shared.target) is None:
                self._join(shared)
            shared = self.of(shared.target) or shared
            # In this order, and forgotten in the other: whatever an interrupt leaves half done is
            # found by its holders, and forgotten with the rest.
            self._holders.setdefault(shared.number, set()).add(holder)
            self.by_number[shared.number] = shared
            self._by_identity[id(shared.target)] = shared
            return shared

    def _join(self, shared: Shared) -> None:
        """Give an object the section that it has already, if it is shared somewhere else too."""
        shared.begin(self.publisher)
        for others in list(_everywhere.all):
            known = None if others is self else others.of(shared.target)
            if known is not None:
                shared.join(known)

    def lend(self, shared: Shared, client: Client, ident: int) -> Shared:
        """Let a client hold an object, by the ident of the call whose reply it travels with."""
        with self._right:
            shared = self.of(shared.target) or shared
            client.held.setdefault(ident, set()).add(shared.number)
            return self.add(shared, (client, ident))

    def settle(self, client: Client, ident: int) -> None:
        """Take back what travelled with a reply that its client does not want any more."""
        if client.dead or ident in client.gone:
            self.take_back(client, ident)

    def take_back(self, client: Client, ident: int) -> None:
        """Let a client hold nothing by this ident any more."""
        self._release(client, ident, list(client.held.get(ident, ())))

    def claim(self, client: Client, pairs: list[tuple[int, int]]) -> None:
        """Let a client hold objects whose references came to it by another way."""
        for ident, number in pairs:
            with self._right:
                shared = self.by_number.get(number)
                if shared is not None and not client.dead and ident not in client.gone:
                    self.lend(shared, client, ident)

    def release(self, client: Client, pairs: list[tuple[int, int]]) -> None:
        """Give up what a client held; what it does not hold is not touched.

        Args:
            pairs: idents, each with the number of one object, or 0 for all of the ident.
        """
        for ident, number in pairs:
            self._release(client, ident, [number] if number else list(client.held.get(ident, ())))
            if ident not in client.held:
                client.remember_gone(ident)

    def _release(self, client: Client, ident: int, numbers: list[int]) -> None:
        held = client.held.get(ident, set())
        for number in held.intersection(numbers):
            self.drop(number, (client, ident))
            held.discard(number)
        if not held:
            client.held.pop(ident, None)

    def drop(self, number: int, holder: object) -> None:
        """Forget an object if this was the last that held it."""
        with self._right:
            holders = self._holders.get(number, set())
            if holders - {holder}:
                holders.discard(holder)
                return
            shared = self.by_number.get(number)
            if shared is not None:
                shared.end()
                if self._by_identity.get(id(shared.target)) is shared:
                    del self._by_identity[id(shared.target)]
                del self.by_number[number]
            self._holders.pop(number, None)

    def forget(self, token: bytes) -> None:
        """Give up everything that a dead client held."""
        client = self.clients.get(token)
        if client is not None:
            client.dead = True
            client.borrowed.clear()
            for ident, numbers in list(client.held.items()):
                self._release(client, ident, list(numbers))
            self.clients.pop(token, None)


class _Everywhere:
    """Those of this process: an object may be shared on several listeners, and lent as well."""

    def __init__(self) -> None:
        self.all: weakref.WeakSet[Objects] = weakref.WeakSet()
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: the parent's threads may be in the sections that it knows."""
        self.all = weakref.WeakSet()


_everywhere = _Everywhere()
