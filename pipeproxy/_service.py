"""The owner's loop: wait, look up, run, reply.

A turn waits once and then answers every call that has arrived. It never waits to write: what a
client does not take stays in its channel, and while that is more than `_MOST_UNSENT` bytes nothing
more is read from this client, so what is held for it is bounded. All others go on.

The channel that a turn has in its hand is noted. If the turn is left by an exception — a signal
handler raised — it is cut by the next one: its caller gets `CallLost`, and nobody else notices.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from . import _descriptors
from ._channel import Channel
from ._door import Door, Knock, Route, hello
from ._members import name_of
from ._objects import Client, Objects, Shared
from ._streams import MEMBERS, Source
from ._wire import (
    FAILURE,
    FAREWELL,
    FROM_CLIENT,
    HELLO,
    LIMIT,
    RELEASE,
    RESULT,
    Frame,
    header,
    unpack_numbers,
)
from .codecs import pickle as codec
from .errors import CodecError, ListenerClosed, ProtocolError, Released
from .transports.pipe import Pipe, Waiter, make_poller

#: Bytes that may wait for one client before the owner stops reading from it.
_MOST_UNSENT: Final = 1 << 20
#: Replies of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16


class Caller(Channel):
    """The owner's end of a channel.

    Attributes:
        client: the process that it belongs to.
        frames: what has arrived and was not served yet.
        paused: it takes too little, so nothing is read from it.
        ended: its other end is closed; what it wrote is served, and the replies go nowhere.
    """

    __slots__ = ("client", "ended", "frames", "paused")

    def __init__(self, pipe: Pipe, client: Client) -> None:
        super().__init__(pipe, FROM_CLIENT)
        self.client = client
        self.frames: deque[Frame] = deque()
        self.paused = False
        self.ended = False


class Service:
    """Answers the calls of all clients of one listener.

    Args:
        route: the listener's identity.
        door: where clients knock.
        objects: what is answered for.
        refer: what turns live objects in results into references.

    Attributes:
        closed: it serves nobody any more.
        errors: calls that ended in an exception.
        waited, ran: seconds spent so far in waiting, and in all else.
    """

    def __init__(
        self,
        route: Route,
        door: Door,
        objects: Objects,
        refer: Callable[[object], Any],
    ) -> None:
        self.closed = False
        self.errors = 0
        self.waited = self.ran = 0.0
        self._route, self._door, self._objects = route, door, objects
        self._refer = refer
        self._poller = make_poller()
        self._waiter = Waiter(self._poller, 1, route.spin)
        self._warm = False
        self._in_hand: Caller | None = None
        self._callers: dict[int, Caller] = {}
        self._writers: dict[int, Caller] = {}
        self._watched: dict[int, Callable[[], object]] = {}
        for number in door.descriptors:
            self.watch(number, self._admit)

    def fileno(self) -> int:
        """The descriptor that is readable when there is work."""
        return self._poller.fileno()

    def watch(self, number: int, act: Callable[[], object]) -> None:
        """Call `act` in a turn whenever this descriptor is readable."""
        self._poller.register(number, select.POLLIN)
        self._watched[number] = act

    def unwatch(self, number: int) -> None:
        """Watch this descriptor no more; before it is closed."""
        if self._watched.pop(number, None) is not None:
            self._poller.unregister(number)

    # -- a turn -----------------------------------------------------------------------------------

    def turn(self, timeout: float | None) -> int:
        """Wait for at most `timeout` seconds and serve what has arrived; return the calls answered.

        Raises:
            ListenerClosed: this process was forked by a method that it served.
        """
        if self._in_hand is not None:
            self._drop(self._in_hand)
        began = monotonic()
        # Only straight after an answer is the next call likely to be a moment away.
        ready = self._waiter.wait(timeout) if self._warm else self._waiter.sleep(timeout)
        woke = monotonic()
        answered = 0
        others = []
        for number, _ in ready:
            caller = self._callers.get(number)
            if caller is None:
                others.append(number)
            else:
                answered += self._attend(caller)
        for number in others:
            writer = self._writers.get(number)
            if writer is not None:
                answered += self._attend(writer)
            elif number in self._watched:
                self._watched[number]()
        self._warm = answered > 0
        self.waited += woke - began
        self.ran += monotonic() - woke
        return answered

    def _attend(self, caller: Caller) -> int:
        """Move what can be moved on one channel, both ways, and serve what has arrived."""
        self._in_hand = caller
        if caller.unsent:
            caller.flush()
        if not caller.paused:
            self._read(caller)
        answered = self._serve(caller) if caller.frames else 0
        if caller.ended:
            self._drop(caller)
        elif caller.unsent or caller.pipe.writer in self._writers:
            self._balance(caller)
        self._in_hand = None
        return answered

    def _read(self, caller: Caller) -> bool:
        """Read once; return whether anything had come."""
        try:
            frames = caller.receive()
        except (EOFError, ProtocolError):
            caller.ended = True
            return False
        if frames is None:
            return False
        caller.frames += frames
        return True

    def _serve(self, caller: Caller) -> int:
        """Answer the frames of a caller until it has too much to take; return how many calls."""
        frames = caller.frames
        replies: list[bytes] = []
        size = answered = 0
        while frames and caller.unsent <= _MOST_UNSENT:
            kind, ident, number, member, payload = frames.popleft()
            if kind == RELEASE:
                self._release(caller, payload)
                continue
            kind, answer = self._answer(caller.client, number, member, payload)
            if self.closed:
                raise ListenerClosed("a method forked this process; the listener is its parent's")
            answered += 1
            if caller.ended:
                continue
            replies += (header(kind, len(answer), ident), answer)
            size += len(answer)
            if size > _JOIN_BELOW:
                for part in replies:
                    caller.send(part)
                replies, size = [], 0
        if replies:
            caller.send(b"".join(replies))
        return answered

    def _release(self, caller: Caller, payload: bytes | memoryview) -> None:
        try:
            self._objects.release(caller.client, unpack_numbers(payload))
        except ProtocolError:
            caller.ended = True
            caller.frames.clear()

    def _answer(
        self, client: Client, number: int, member: int, payload: bytes | memoryview
    ) -> tuple[int, bytes]:
        """Run one call and return the kind and the payload of its reply."""
        args: tuple[Any, ...] = ()
        try:
            shared = self._objects.find(number)
            args, kwargs = _arguments(shared, member, payload)
            value = shared.call(member, args, kwargs)
        except BaseException as error:
            return self._failure(error, number, member, args)
        try:
            if member in shared.iterating:
                value = self._keep_iterator(value, client)
            answer = codec.encode(value, self._refer)
            if len(answer) > LIMIT:
                raise CodecError(f"it has {len(answer)} bytes, and at most {LIMIT} can travel")
        except CodecError as error:
            where = name_of(shared.members.plain, member, args)
            explained = codec.explain_result(value, error, where, self._refer)
            return self._failure(explained, number, member, args)
        return RESULT, answer

    def _failure(
        self, error: BaseException, number: int, member: int, args: tuple[Any, ...]
    ) -> tuple[int, bytes]:
        self.errors += 1
        try:
            where = name_of(self._objects.find(number).members.plain, member, args)
        except Released:
            where = f"object {number}"
        return FAILURE, codec.encode_failure(error, where, self._refer)

    def _keep_iterator(self, value: Any, client: Client) -> Any:
        """Let the client take from an iterator, which stays here and is an object of its now."""
        if self._objects.of(value) is not None:
            return value  # an object that iterates over itself
        return self._objects.add(Source(value), MEMBERS, client).target

    # -- channels ---------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Open a channel for everybody who knocked."""
        for knock in self._door.read():
            try:
                self._open(knock)
            except OSError:
                pass  # it sent a descriptor that nobody can wait for; all it sent closes itself

    def _open(self, knock: Knock) -> None:
        client = self._introduce(knock)
        caller = Caller(Pipe(knock.reader, knock.writer), client)
        self._poller.register(caller.pipe.reader, select.POLLIN)
        self._callers[caller.pipe.reader] = caller
        client.channels.add(caller)
        answer = hello(self._route.secret, knock.nonce)
        caller.send(header(HELLO, len(answer)) + answer)

    def _introduce(self, knock: Knock) -> Client:
        known = self._objects.clients.get(knock.token)
        if known is not None:
            return known
        client = Client(knock.life)
        if knock.life is not None:
            self.watch(knock.life.fileno(), partial(self._bury, knock.token, client))
        self._objects.clients[knock.token] = client
        return client

    def _bury(self, token: bytes, client: Client) -> None:
        """Serve what a dead process still wrote, then give up all that was its."""
        for caller in list(client.channels):
            assert isinstance(caller, Caller)
            while self._read(caller):
                pass
            caller.ended = True
            self._attend(caller)
        if client.life is not None:
            self.unwatch(client.life.fileno())
            client.life.close()
        self._objects.forget(token)

    def _balance(self, caller: Caller) -> None:
        """Wait for what the channel needs now: to be written to, to be read from."""
        reader, writer = caller.pipe.reader, caller.pipe.writer
        if bool(caller.unsent) != (writer in self._writers):
            if caller.unsent:
                self._writers[writer] = caller
                self._poller.register(writer, select.POLLOUT)
            else:
                del self._writers[writer]
                self._poller.unregister(writer)
        if caller.paused != (caller.unsent > _MOST_UNSENT):
            caller.paused = not caller.paused
            if caller.paused:
                self._poller.unregister(reader)
            else:
                self._poller.register(reader, select.POLLIN)

    def _drop(self, caller: Caller) -> None:
        """Close a channel; before its descriptors are closed, nobody waits for them any more."""
        self._in_hand = None
        caller.client.channels.discard(caller)
        if self._callers.pop(caller.pipe.reader, None) is not None and not caller.paused:
            self._poller.unregister(caller.pipe.reader)
        if self._writers.pop(caller.pipe.writer, None) is not None:
            self._poller.unregister(caller.pipe.writer)
        caller.close()

    # -- ends -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Say farewell to all clients and close everything; a second time does nothing."""
        if self.closed:
            return
        self.closed = True
        for caller in list(self._callers.values()):
            caller.send(header(FAREWELL, 0))
        self._close_copies()
        self._door.close()

    def forked(self) -> None:
        """In a forked child: the loop is the parent's. Close the copies, say and change nothing."""
        self.closed = True
        self._close_copies()
        self._door.close_copies()

    def _close_copies(self) -> None:
        with _descriptors.lock:
            self._poller.close()
            for caller in list(self._callers.values()):
                caller.close()
            for client in list(self._objects.clients.values()):
                if client.life is not None:
                    client.life.close()
            self._callers.clear()
            self._writers.clear()
            self._watched.clear()


def _arguments(
    shared: Shared, member: int, payload: bytes | memoryview
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return codec.decode_call(payload)
    except CodecError:
        return codec.decode_call(payload, name_of(shared.members.plain, member))
