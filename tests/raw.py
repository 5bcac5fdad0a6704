"""A client that writes whatever frames a test wants, in the process of the owner."""

from __future__ import annotations

import os
from multiprocessing.connection import wait
from time import monotonic
from typing import Any

from pipeproxy import Listener
from pipeproxy._channels._door import check_hello, knock, knocker
from pipeproxy._channels._wire import (
    CALL,
    CANCEL,
    ENTER,
    FAILURE,
    FROM_OWNER,
    HELLO,
    LEAVE,
    RESULT,
    Decoder,
    Frame,
    header,
    pack_number,
)
from pipeproxy._proxies._proxy import link_of, members_of
from pipeproxy._system import _life as life_room
from pipeproxy.codecs import pickle as codec
from pipeproxy.transports.pipe import open_pair

from .support import PATIENCE


class Raw:
    """A client at the level of the wire: it knocks, and `greet` waits for the answer.

    Args:
        introduced: it sends a life descriptor, that of this process.
        token: that of the process which it passes for; one of its own if it is None.
        served: another thread serves the listener; else it is polled while this waits.
    """

    def __init__(
        self,
        listener: Listener[Any],
        proxy: Any,
        *,
        introduced: bool = False,
        token: bytes | None = None,
        served: bool = False,
    ) -> None:
        self.listener = listener
        self._served = served
        self.number: int = link_of(proxy).number
        self.members = members_of(proxy)
        self.token = token or os.urandom(16)
        self.ident = 0
        self._decoder = Decoder(FROM_OWNER)
        self._frames: list[Frame] = []
        self._nonce = os.urandom(16)
        self._route = route = link_of(proxy).route
        self.pipe, theirs = open_pair()
        door = knocker(route.address)
        ends = [theirs.writer, theirs.reader]
        if introduced:
            ends.append(life_room.descriptor().fileno())
        assert knock(door, route, (self.token, 1), self._nonce, ends)
        theirs.close()
        door.close()

    def greet(self) -> Raw:
        kind, *_, payload = self.read()
        assert kind == HELLO
        check_hello(self._route, self._nonce, payload)
        return self

    def write(self, data: bytes) -> None:
        """Write bytes that fit into the pipe."""
        assert self.pipe.write(data) == len(data)

    def frame(self, member: int, payload: bytes, number: int | None = None) -> bytes:
        self.ident += 1
        number = self.number if number is None else number
        return header(CALL, len(payload), self.ident, number, member) + payload

    def call(self, name: str, *args: Any) -> bytes:
        return self.frame(self.members.numbers[name], codec.encode_call(args, None))

    def cancel(self, ident: int | None = None) -> bytes:
        """What gives up a call: the last one, if it is not said which."""
        return header(CANCEL, 0, self.ident if ident is None else ident)

    def enter(self) -> bytes:
        """What enters the section of the object, by the ident of its own as number."""
        self.ident += 1
        return header(ENTER, 8, self.ident, self.number) + pack_number(self.ident)

    def leave(self, entering: int) -> bytes:
        self.ident += 1
        return header(LEAVE, 8, self.ident, self.number) + pack_number(entering)

    def read(self) -> Frame:
        """Poll the owner until a whole frame has come."""
        end = monotonic() + PATIENCE
        while monotonic() < end:
            if self._frames:
                return self._frames.pop(0)
            if not self._served:
                self.listener.poll()
            wait([self.pipe.reader], 0.01)
            data = self.pipe.read(1 << 20)
            if data == b"":
                raise EOFError
            if data:
                self._frames += self._decoder.feed(data)
        raise TimeoutError

    def result(self) -> Any:
        """What came of the last call: its result, or the exception itself."""
        ident, value = self.reply()
        assert ident == self.ident
        return value

    def reply(self) -> tuple[int, Any]:
        """The next reply: of which call it is, and what came of that."""
        kind, ident, *_, payload = self.read()
        if kind == FAILURE:
            return ident, codec.decode_failure(payload)
        assert kind == RESULT
        return ident, codec.decode(payload) if payload else None

    def replies(self, count: int) -> dict[int, Any]:
        """So many of them, by their calls."""
        replies = [self.reply() for _ in range(count)]
        assert len(dict(replies)) == count
        return dict(replies)

    def ask(self, name: str, *args: Any) -> Any:
        self.write(self.call(name, *args))
        return self.result()

    def is_cut(self) -> bool:
        try:
            for _ in range(3):
                self.listener.poll()
                if self.pipe.read(1 << 20) == b"":
                    return True
        except EOFError:
            return True
        return False

    def close(self) -> None:
        self.pipe.close()
