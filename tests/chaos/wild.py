"""Peers that write whatever bytes they like: clients of an owner and of a manager, and an owner.

Frames are made by the same code that honest peers use, and then spoiled.
"""

from __future__ import annotations

import array
import os
import pickle
import socket
import struct
import threading
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.managers import (  # type: ignore[attr-defined]  # not all are in the stubs
    MakeProxyType,
    Token,
    dispatch,
)
from random import Random
from time import monotonic
from typing import Any, Protocol

from pipeproxy import PipeProxyError
from pipeproxy._channels._door import Door, Route, check_hello, hello, knock, knocker
from pipeproxy._channels._wire import (
    CALL,
    CALL_WITHIN,
    CLAIM,
    FAILURE,
    FROM_CLIENT,
    FROM_OWNER,
    HEADER_SIZE,
    HELLO,
    LEAVE,
    LIMIT,
    RELEASE,
    RESULT,
    Decoder,
    Frame,
    header,
    pack_number,
    pack_pairs,
    unpack_context,
)
from pipeproxy._proxies._proxy import link_of, members_of
from pipeproxy._references._references import rebuild
from pipeproxy._specs._spec import describe
from pipeproxy._system import _life
from pipeproxy.codecs import pickle as codec
from pipeproxy.transports.pipe import Pipe, open_pair, wait_for
from tests.support import PATIENCE

from .sides import Echo

#: What `Wild.read` returns where no reply came in time, and where the channel was cut.
SILENCE, CUT = "silence", "cut"


class Wild(Protocol):
    """A client at the level of the wire."""

    def frame(self, name: str, *args: Any) -> bytes:
        """Return a whole call of a method."""

    def asides(self) -> list[bytes]:
        """Return whole frames that are no calls, and change nothing."""

    def largest(self) -> list[bytes]:
        """Return the first bytes of the largest frames that can be announced."""

    def write(self, data: bytes) -> int:
        """Write until the other side takes no more now; return how many bytes it took."""

    def write_all(self, data: bytes) -> bool:
        """Write until the other side has taken it all; return False if it hung up."""

    def read(self, seconds: float = PATIENCE) -> Any:
        """Return the value or the exception that comes next, or SILENCE, or CUT."""

    def close(self) -> None:
        """Hang up."""


Wilds = Callable[[Any], Wild]

#: Each wild client passes for one more thread of its process.
_threads = count(1_000_000)


class _Wild:
    """What both have in common."""

    def write(self, data: bytes) -> int:
        raise NotImplementedError

    def _writer(self) -> int:
        raise NotImplementedError

    def write_all(self, data: bytes) -> bool:
        until = monotonic() + PATIENCE
        view = memoryview(data)
        try:
            while view:
                taken = self.write(view)  # type: ignore[arg-type]
                view = view[taken:]
                if not taken and not wait_for((self._writer(), True), timeout=PATIENCE):
                    raise TimeoutError
                if monotonic() > until:
                    raise TimeoutError
        except ConnectionError:
            return False
        return True


class WildClient(_Wild):
    """A client of pipeproxy.

    Args:
        proxy: of what it calls.
        lobby: the door to knock at in place of the address.
    """

    def __init__(self, proxy: Any, lobby: socket.socket | None = None) -> None:
        link = link_of(proxy)
        self._number, self._members = link.number, members_of(proxy)
        self._ident = 0
        self._decoder, self._frames = Decoder(FROM_OWNER), list[Frame]()
        self.pipe, theirs = open_pair()
        nonce = os.urandom(16)
        end = lobby or knocker(link.route.address)
        try:
            until = monotonic() + PATIENCE
            ends = [theirs.writer, theirs.reader]
            who = _life.token(), next(_threads)
            while not knock(end, link.route, who, nonce, ends):
                wait_for((end.fileno(), True), timeout=PATIENCE)
                assert monotonic() < until, "the door stays full"
        finally:
            theirs.close()
            if end is not lobby:
                end.close()
        frame = self._frame(PATIENCE)
        assert type(frame) is tuple, f"no hello but {frame}"
        assert frame[0] == HELLO
        check_hello(link.route, nonce, frame[-1])

    def frame(self, name: str, *args: Any) -> bytes:
        self._ident += 1
        payload = codec.encode((*args,))
        number = self._members.numbers[name]
        return header(CALL, len(payload), self._ident, self._number, number) + payload

    def asides(self) -> list[bytes]:
        pair = pack_pairs([(self._ident, self._number)])
        return [
            header(RELEASE, len(pair)) + pair,
            header(CLAIM, len(pair)) + pair,
            header(LEAVE, 8, self._ident + 1, self._number) + pack_number(0),
        ]

    def largest(self) -> list[bytes]:
        rest = header(CALL, 0, 1, self._number, 3)[4:]
        return [size.to_bytes(4, "little") + rest for size in (2**32 - 1, LIMIT + 1, LIMIT)]

    def _writer(self) -> int:
        return self.pipe.writer

    def write(self, data: bytes) -> int:
        return self.pipe.write(data) or 0

    def _frame(self, seconds: float) -> Frame | str:
        until = monotonic() + seconds
        while not self._frames:
            if not wait_for((self.pipe.reader, False), timeout=max(0.0, until - monotonic())):
                return SILENCE
            data = self.pipe.read(1 << 20)
            if data == b"":
                return CUT
            self._frames += self._decoder.feed(data or b"")
        return self._frames.pop(0)

    def read(self, seconds: float = PATIENCE) -> Any:
        frame = self._frame(seconds)
        if isinstance(frame, str):
            return frame
        kind, *_, payload = frame
        if kind == FAILURE:
            return codec.decode_failure(payload)
        assert kind == RESULT, kind
        return codec.decode(payload) if payload else None

    def close(self) -> None:
        self.pipe.close()


class WildManagerClient(_Wild):
    """A client of a manager's server."""

    def __init__(self, proxy: Any) -> None:
        token, key = proxy._token, proxy._authkey
        self._id = token.id
        self._connection = Client(token.address, authkey=key)
        dispatch(self._connection, None, "accept_connection", ("wild",))
        os.set_blocking(self._writer(), False)
        self._came = bytearray()

    def frame(self, name: str, *args: Any) -> bytes:
        payload = pickle.dumps((self._id, name, args, {}))
        return struct.pack("!i", len(payload)) + payload

    def asides(self) -> list[bytes]:
        return [self.frame("#GETVALUE")]

    def largest(self) -> list[bytes]:
        sizes = (2**32 - 1, 2**31 - 1)
        return [struct.pack("!iQ", -1, size) for size in sizes] + [struct.pack("!i", 2**31 - 1)]

    def _writer(self) -> int:
        return self._connection.fileno()

    def write(self, data: bytes) -> int:
        try:
            return os.write(self._writer(), data)
        except BlockingIOError:
            return 0

    def read(self, seconds: float = PATIENCE) -> Any:
        until = monotonic() + seconds
        while len(self._came) < 4 or len(self._came) < 4 + struct.unpack_from("!i", self._came)[0]:
            if not wait_for((self._writer(), False), timeout=max(0.0, until - monotonic())):
                return SILENCE
            try:
                data = os.read(self._writer(), 1 << 20)
            except ConnectionError:
                return CUT
            if not data:
                return CUT
            self._came += data
        end = 4 + struct.unpack_from("!i", self._came)[0]
        kind, value = pickle.loads(self._came[4:end])
        del self._came[:end]
        return value if kind == "#RETURN" else RuntimeError(kind, value)

    def close(self) -> None:
        self._connection.close()


# Wild words --------------------------------------------------------------------------------------


def spoil(random: Random, frame: bytes, end: int | None = None) -> bytes:
    """Return what is no honest frame any more: cut short, with bits flipped, or mere noise.

    Args:
        end: bits are flipped before this byte.
    """
    way = random.randrange(3)
    if way == 0:
        return frame[: random.randrange(len(frame))]
    if way == 1:
        spoiled = bytearray(frame)
        for _ in range(random.choice((1, 1, 2, 8))):
            spoiled[random.randrange(end or len(frame))] ^= 1 << random.randrange(8)
        return bytes(spoiled)
    return random.randbytes(random.randrange(1, 500))


def wild_knock(random: Random, end: socket.socket, route: Route, things: list[int]) -> None:
    """Send a door what is no knock: noise, a spoiled one, a good one with strange descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        who = random.randbytes(16), random.randrange(1 << 32)
        assert knock(ours, route, who, random.randbytes(16), [0] * 2)
        words = theirs.recv(1000)
    if random.random() < 0.5:
        words = spoil(random, words)
    given = random.choices(things, k=random.randrange(8))
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))
    while True:
        try:
            end.sendmsg([words], [rights] if given else [])
        except BlockingIOError:
            assert wait_for((end.fileno(), True), timeout=PATIENCE), "the door stays full"
        else:
            break


#: How the argument of a call begins that a wild owner does not answer honestly.
WILD = b"wild"


class WildOwner:
    """An owner that echoes; it answers `WILD` calls in its own way, and hangs up after that.

    Args:
        spoil: what goes over such an answer, told how long the header of the frame is.

    Attributes:
        errors: what a client may be told of what is wrong with an answer.
    """

    errors: type[Exception] = PipeProxyError

    def __init__(self, spoil: Callable[[bytes, int], bytes]) -> None:
        identity, secret = os.urandom(16), os.urandom(16)
        self._door = Door(identity, secret)
        address = self._door.address
        self._route = Route(identity, _life.token(), os.getpid(), address, secret, 0.0)
        self._spoil = spoil
        self._closed = False
        self.proxy: Any = rebuild(tuple(self._route), 1, describe(Echo).plain)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self._doors = [(number, False) for number in self._door.descriptors]
        while not self._closed:
            wait_for(*self._doors)
            for found in self._door.read():
                pipe = Pipe(found.reader, found.writer)
                proof = hello(self._route.secret, found.nonce)
                pipe.write(header(HELLO, len(proof)) + proof)
                self._answer(pipe)
                pipe.close()

    def _answer(self, pipe: Pipe) -> None:
        """Answer the calls of one channel, up to its end or the first that is wild."""
        decoder = Decoder(FROM_CLIENT)
        while pipe.reader in wait_for((pipe.reader, False), *self._doors):
            data = pipe.read(1 << 16)
            if not data:
                return
            for kind, ident, _, _, payload in decoder.feed(data):
                if kind not in {CALL, CALL_WITHIN}:
                    continue  # what it claims and releases
                arguments = payload if kind == CALL else unpack_context(payload)[1]
                [value], _ = codec.decode_call(arguments)
                answer = codec.encode(value)
                frame = header(RESULT, len(answer), ident) + answer
                if value.startswith(WILD):
                    pipe.write(self._spoil(frame, HEADER_SIZE))
                    return
                pipe.write(frame)

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._door.wake()
        self._thread.join()
        self._door.close()


class WildServer:
    """As `WildOwner`, for a proxy of multiprocessing's managers."""

    errors: type[Exception] = Exception

    def __init__(self, spoil: Callable[[bytes, int], bytes]) -> None:
        self._listener = Listener(family="AF_UNIX", authkey=b"key")
        self._spoil = spoil
        kind: Any = MakeProxyType("EchoProxy", ("echo",))
        token = Token("Echo", self._listener.address, "1")
        self.proxy: Any = kind(token, "pickle", authkey=b"key", incref=False)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self._closed = False
        while not self._closed:
            with self._listener.accept() as connection:
                try:
                    _, name, *_ = connection.recv()
                    self._closed = name == "shutdown"
                    connection.send(("#RETURN", None))
                    while not self._closed and self._answer(connection):
                        pass
                except (EOFError, ConnectionError):
                    pass

    def _answer(self, connection: Connection) -> bool:
        """Answer a call; return whether it was no wild one."""
        _, _, [value], _ = connection.recv()
        answer = pickle.dumps(("#RETURN", value))
        frame = struct.pack("!i", len(answer)) + answer
        is_wild = value.startswith(WILD)
        frame = self._spoil(frame, 4) if is_wild else frame
        while frame:
            frame = frame[os.write(connection.fileno(), frame) :]
        return not is_wild

    def close(self) -> None:
        """Let nobody in any more."""
        with Client(self._listener.address, authkey=b"key") as connection:
            dispatch(connection, None, "shutdown")
        self._thread.join()
        self._listener.close()


WildOwners = type[WildOwner] | type[WildServer]
