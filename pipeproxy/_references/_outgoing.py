"""What leaves with a reply: what of it travels by reference, and who holds that from then on."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any

from .._chains._activities import here
from .._chains._sections import Section
from .._channels._parcels import Parcel
from .._objects._faces import shareable, travels_alive
from .._objects._objects import Objects
from .._objects._subjects import EVERY_MEMBER, Face, Shared
from .._proxies._proxy import Proxy, link_of, members_of
from .._specs._members import name_of
from ..codecs import pickle as codec
from ..errors import CodecError, RemoteError
from ._references import PlainRoute, arrive, homes, open_stream
from ._streams import ASYNC_FACE, FACE, AsyncSource, Source
from ._values import copied


class Outgoing:
    """One reply, asked for each part of it how that travels; whatever does by reference is lent.

    Args:
        route: the listener's.
        objects: what it answers for.
        client: who gets the reply.
        ident: that of the call, by which the client holds what it gets.
    """

    __slots__ = (
        "_client",
        "_elsewhere",
        "_ident",
        "_live",
        "_objects",
        "_route",
        "_section",
        "_streamed",
        "_streams",
    )

    def __init__(self, route: PlainRoute, objects: Objects, client: Any, ident: int) -> None:
        self._route = route
        self._objects = objects
        self._client = client
        self._ident = ident
        self._section: Section | None = None
        self._elsewhere: Collection[int] = ()
        self._live: Any = None
        self._streamed: Any = None
        self._streams: dict[int, Shared] = {}

    def encode(
        self, value: Any, shared: Shared, member: int, args: tuple[Any, ...]
    ) -> bytes | Parcel:
        """Return what travels of a result of a call.

        Raises:
            CodecError: nothing of it can; the text says why.
        """
        self._section = shared.section  # to take from an iterator is to read the object
        self._elsewhere = shared.elsewhere
        if shared.face.is_live(member, args):
            self._live = value
        if member in shared.face.iterating:
            self._streamed = value
        try:
            answer = codec.encode_result(value, self.refer)
        except CodecError as error:
            where = name_of(shared.members.plain, member, args)
            explained = codec.explain_result(value, error, where, self.refer)
            raise explained from explained.__cause__
        self._settle()
        return answer

    def encode_failure(self, error: BaseException, where: str) -> bytes | Parcel:
        """Return what travels of an exception; `where` names the method for people."""
        self.take_back()  # what was lent for a result that does not travel
        try:
            failure = codec.encode_failure_apart(error, where, self.refer)
        except BaseException as another:  # even its class misbehaves
            self.take_back()
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            text = f"it cannot be described: {type(another).__qualname__}"
            return codec.encode_failure(RemoteError(name, text), where, None)
        self._settle()
        return failure

    def refer(self, value: Any) -> Any:
        """Return a tuple as ``__reduce__`` does for what travels by reference, NotImplemented else.

        Asked twice about one value it answers the same.
        """
        kind = type(value)
        if issubclass(kind, Proxy):
            return self._pass_on(value)
        reduced = copied(value)
        if reduced is not NotImplemented:
            return reduced
        shared = self._objects.of(value)
        if shared is not None or value is self._live or travels_alive(value):
            return self._lend(shared or shareable(value))
        iterates = hasattr(kind, "__next__") or hasattr(kind, "__anext__")
        if value is self._streamed or (iterates and not issubclass(kind, io.IOBase)):
            return self._stream(value)
        return NotImplemented

    def _lend(self, shared: Shared) -> Any:
        shared = self._objects.lend(shared, self._client, self._ident)
        return arrive, (self._route, shared.number, shared.members.plain, self._ident)

    def _pass_on(self, proxy: Any) -> Any:
        """Return what stands for the object of a proxy."""
        link = link_of(proxy)
        home = homes.get(link.route.listener)
        if home is not None and (not link.route.address or link.route[0] == self._route[0]):
            return self._lend(home.shared_of(link.number))
        if link.route.process == self._client.token:
            self._return(proxy)
        elif not link.route.address:  # only from here can it be called: calls of it go through here
            return self._lend(self._objects.of(proxy) or Shared(proxy, Face(members_of(proxy))))
        else:
            link.keep()  # nobody here will know how long it is on its way
        return arrive, link.reference

    def _return(self, proxy: Any) -> None:
        """Hold what goes home with a reply until its client is seen to have got that."""
        caller = here.server and here.server.in_hand
        if caller is not None:
            caller.returned.append(proxy)

    def _stream(self, items: Any) -> Any:
        """Return what stands for an iterator, which stays here and is an object of its own."""
        shared = self._streams.get(id(items))
        if shared is None:
            if hasattr(type(items), "__anext__"):
                shared = Shared(AsyncSource(items), ASYNC_FACE, self._section)
            else:
                shared = Shared(Source(items), FACE, self._section)
            self._streams[id(items)] = shared
            if self._elsewhere is EVERY_MEMBER:
                shared.elsewhere = EVERY_MEMBER
        self._objects.lend(shared, self._client, self._ident)
        return open_stream, (self._route, shared.number, self._ident)

    def take_back(self) -> None:
        """Take back what was lent: it did not travel."""
        self._objects.take_back(self._client, self._ident)

    def _settle(self) -> None:
        """Take back what was lent if nobody waits for the reply any more."""
        self._objects.settle(self._client, self._ident)
