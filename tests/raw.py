"""A client whose frames are written by hand."""

from __future__ import annotations

import os
from typing import Any

from pipeproxy import Listener
from pipeproxy import _life as life_room
from pipeproxy._door import check_hello, knock, knocker
from pipeproxy._members import ENTER
from pipeproxy._proxy import link_of, members_of
from pipeproxy._wire import (
    CALL,
    FAILURE,
    FROM_OWNER,
    HELLO,
    LEAVE,
    RESULT,
    Decoder,
    Frame,
    header,
)
from pipeproxy.codecs import pickle as codec
from pipeproxy.transports.pipe import open_pair


class Raw:
    """A client that writes whatever bytes a test wants, in the process of the owner."""

    def __init__(
        self,
        listener: Listener[Any],
        proxy: Any,
        *,
        introduced: bool = False,
        token: bytes | None = None,
    ) -> None:
        self.listener = listener
        self.number: int = link_of(proxy).number
        self.members = members_of(proxy)
        self.token = token or os.urandom(16)
        self.ident = 0
        self._decoder = Decoder(FROM_OWNER)
        self._frames: list[Frame] = []
        route, nonce = link_of(proxy).route, os.urandom(16)
        self.pipe, theirs = open_pair()
        door = knocker(route.address)
        ends = [theirs.writer, theirs.reader]
        if introduced:
            ends.append(life_room.descriptor().fileno())
        assert knock(door, route, self.token, nonce, ends)
        theirs.close()
        door.close()
        kind, *_, payload = self.read()
        assert kind == HELLO
        check_hello(route, nonce, payload)

    def write(self, data: bytes) -> None:
        """Write bytes that fit into the pipe."""
        assert self.pipe.write(data) == len(data)

    def frame(
        self, member: int, payload: bytes, number: int | None = None, activity: int = 0
    ) -> bytes:
        self.ident += 1
        number = self.number if number is None else number
        return header(CALL, len(payload), self.ident, number, member, activity) + payload

    def call(self, name: str, *args: Any, activity: int = 0) -> bytes:
        payload = codec.encode_call(args, None)
        return self.frame(self.members.numbers[name], payload, activity=activity)

    def enter(self, name: int, activity: int) -> bytes:
        return self.frame(ENTER, codec.encode_call((name,), None), activity=activity)

    def leave(self, name: int, activity: int) -> bytes:
        return header(LEAVE, 0, name, self.number, 0, activity)

    def read(self) -> Frame:
        """Poll the owner until a whole frame has come."""
        for _ in range(100):
            if self._frames:
                return self._frames.pop(0)
            self.listener.poll()
            data = self.pipe.read(1 << 20)
            if data == b"":
                raise EOFError
            if data:
                self._frames += self._decoder.feed(data)
        raise TimeoutError

    def result(self) -> Any:
        """What came of the last call: its result, or the exception itself."""
        kind, ident, *_, payload = self.read()
        assert ident == self.ident
        if kind == FAILURE:
            return codec.decode_failure(payload)
        assert kind == RESULT
        return codec.decode(payload)

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
