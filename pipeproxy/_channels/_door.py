"""The door: how a process that has no pipe to an owner gets one.

A door is a datagram socket. A client makes the pipes for both directions and sends the owner its
ends of them in one datagram, the *knock*: no accept, no challenge, no half-open state. A listener
has two doors, which one function reads. The *lobby* is a socket pair that forked children inherit;
it works whatever became of their user or their network. The *address* is a name, for everybody who
got the proxy in a pickle, in whatever way.

A process that holds proxies of published attributes asks, in a datagram of another kind, for the
memory in which those are: see `_handover`.

Nobody sends a secret. A knock carries a nonce and the keyed hash of itself, which only a holder of
the listener's secret can make; the owner's hello is the keyed hash of the nonce, so the client
knows who answered before it sends anything else. The address takes knocks of the same user only.

On Linux the address is an abstract name: it leaves no file behind. Elsewhere it is a socket in a
directory that only its user can enter.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
from functools import partial
from itertools import chain, compress, tee
from operator import itemgetter
from typing import Any, Final, NamedTuple

from .._system import _descriptors
from .._system._descriptors import Descriptor, Mode
from ..errors import ProtocolError

VERSION: Final = 1

ABSTRACT = sys.platform == "linux"

#: version, count of descriptors, listener, process token, thread, nonce; then the proof
_body = struct.Struct("<HH16s16sQ16s")
#: version, count of descriptors, listener, process token, number and size of a segment
_offered = struct.Struct("<HH16s16sQQ")
#: of one that asks: version, count of descriptors, listener, nonce
_asking = struct.Struct("<HH16s16s")
PROOF_SIZE = 16
_KNOCK_SIZE = _body.size + PROOF_SIZE
#: What a datagram of so many bytes begins with.
_BODIES = {body.size + PROOF_SIZE: body for body in (_body, _offered, _asking)}
_NUMBER_SIZE = array.array("i").itemsize
_credentials = struct.Struct("3i")  # pid, uid, gid
#: Bytes of a temporary directory's path beyond which the door's would be no socket's any more.
_LONGEST_DIRECTORY = 70
RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
_CREDENTIALS = (socket.SOL_SOCKET, getattr(socket, "SCM_CREDENTIALS", -1))
_ROOM = socket.CMSG_SPACE(3 * _NUMBER_SIZE) + socket.CMSG_SPACE(_credentials.size)
_MODES: Final[tuple[Mode, ...]] = ("wb", "rb", "rb")
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Route(NamedTuple):
    """How to reach a listener: what a reference carries. It travels as a plain tuple.

    Attributes:
        listener: 16 random bytes, its identity.
        process: the token of its process.
        pid: that of its process.
        address: what to connect a datagram socket to; empty if it has no door, and is reached while
            its process waits for an answer.
        secret: 16 random bytes that prove that one was given a reference.
        spin: seconds, see `transports.pipe`.
    """

    listener: bytes
    process: bytes
    pid: int
    address: bytes
    secret: bytes
    spin: float


class Knock(NamedTuple):
    """One process, or one more thread of it, that asks for a channel."""

    token: bytes
    thread: int
    nonce: bytes
    reader: Descriptor
    writer: Descriptor
    life: Descriptor | None


class Offer(NamedTuple):
    """Memory that a process makes for what it and the owner send each other."""

    token: bytes
    number: int
    size: int
    memory: Descriptor


class Asking(NamedTuple):
    """One process that asks for the memory in which published values are."""

    nonce: bytes
    end: Descriptor


def prove(secret: bytes, text: bytes) -> bytes:
    """Return what shows that one knows `secret`, for this text only (BLAKE2b, keyed)."""
    from hashlib import blake2b  # here, as only processes that open a channel pay for it

    return blake2b(text, digest_size=PROOF_SIZE, key=secret).digest()


def same(one: bytes, other: bytes | memoryview) -> bool:
    """Compare in a time that tells nothing about the place of a difference."""
    from hmac import compare_digest

    return compare_digest(one, other)


class _Socket(socket.socket):
    """A socket that closes itself when it is forgotten, without a ResourceWarning."""

    __del__ = socket.SocketType.close  # in C, as that of a `Descriptor`


class Door:
    """The owner's side of both doors of one listener.

    Args:
        listener: its identity.
        secret: what a knock must prove to know.

    Attributes:
        address: where strangers knock.
        lobby: the socket that children inherit to knock with.
        descriptors: readable when somebody knocks.
    """

    def __init__(self, listener: bytes, secret: bytes) -> None:
        self._listener, self._secret = listener, secret
        # Loaded now, and not in the loop: a signal handler may raise in the middle of an import.
        same(prove(secret, b""), b"")
        self._directory: str | None = None
        with _descriptors.lock:
            self._inside, self.lobby = _pair()
            self._address = _Socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._address.setblocking(False)
            self.address = self._bind()

    def _bind(self) -> bytes:
        if ABSTRACT:
            # Before bind: a knock that came in between would carry nobody's name.
            self._address.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            name = b"\0pipeproxy-" + os.urandom(16).hex().encode()
        else:
            self._directory = _directory()
            name = os.fsencode(os.path.join(self._directory, "door"))
        try:
            self._address.bind(name)
        except BaseException:
            self.close()
            raise
        return name

    @property
    def descriptors(self) -> tuple[int, int]:
        return self._inside.fileno(), self._address.fileno()

    def wake(self) -> None:
        """Make a descriptor of the door readable: an empty datagram, which means nothing."""
        try:
            self.lobby.send(b"")
        except OSError:
            pass  # full, so it is readable; or closed, so nobody waits

    def read(self) -> list[Knock | Offer | Asking]:
        """Return what came since; whatever is wrong with a datagram, it is closed and gone."""
        found = []
        for end, check_user in ((self._inside, False), (self._address, True)):
            while (got := receive(end, _KNOCK_SIZE)) is not None:
                meant = self._understand(*got, check_user=check_user and ABSTRACT)
                if meant is not None:
                    found.append(meant)
        return found

    def _understand(
        self, data: bytes, ends: list[Descriptor], user: int | None, check_user: bool
    ) -> Knock | Offer | Asking | None:
        """Return what is meant by these, or None for what deserves no answer."""
        body = _BODIES.get(len(data))
        if body is None or (check_user and user != os.getuid()):
            return None
        version, count, listener, *fields = body.unpack_from(data)
        proof = prove(self._secret, data[: body.size])
        if not same(proof, data[body.size :]):
            return None
        if (version, listener) != (VERSION, self._listener):
            return None
        if len(ends) != count:
            return None  # this process is out of descriptors, and the system left some out
        if body is _body:
            return _knock(ends, *fields) if count > 1 else None
        if count != 1:
            return None
        [end] = ends
        return Offer._make([*fields, end]) if body is _offered else _asks(end, *fields)

    def close(self) -> None:
        """Let nobody in any more; a second time does nothing."""
        with _descriptors.lock:
            self._shut_down()
            self.close_copies()
            self.lobby.close()
            if self._directory:
                import shutil

                shutil.rmtree(self._directory, ignore_errors=True)

    def _shut_down(self) -> None:
        try:
            # For all who inherited the other end: a shutdown acts on the socket, not on a copy.
            self._inside.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close_copies(self) -> None:
        """In a forked child: close what is only the owner's, and touch nothing else of it."""
        self._inside.close()
        self._address.close()


def _knock(ends: list[Descriptor], token: bytes, thread: int, nonce: bytes) -> Knock | None:
    writer, reader, *life = ends
    if not (_is_pipe(writer, os.O_WRONLY) and _is_pipe(reader, os.O_RDONLY)):
        return None
    _descriptors.blocking_off((reader, writer))
    return Knock(token, thread, nonce, reader, writer, life[0] if life else None)


def _asks(end: Descriptor, nonce: bytes) -> Asking | None:
    return Asking(nonce, end) if stat.S_ISSOCK(os.fstat(end.fileno()).st_mode) else None


def receive(end: Any, size: int) -> tuple[bytes, list[Descriptor], int | None] | None:
    """Take what was sent: its bytes, at most so many, its descriptors and its sender's user."""
    with _descriptors.lock:
        return _receive(end, size)


def _receive(end: Any, size: int) -> tuple[bytes, list[Descriptor], int | None] | None:
    ends: list[Descriptor] = []
    # From the kernel into `ends` in one C call, so that no descriptor can be lost.
    sizes = (size + 1,), (_ROOM,), (_CLOEXEC,)
    messages, again = tee(map(end.recvmsg, *sizes))
    parts, kinds = tee(chain.from_iterable(map(itemgetter(1), messages)))
    is_rights = map(RIGHTS.__eq__, map(itemgetter(0, 1), kinds))
    rights = compress(map(itemgetter(2), parts), is_rights)
    numbers = chain.from_iterable(map(partial(array.array, "i"), rights))
    try:
        _descriptors.adopt(ends, numbers, _MODES)
    except (BlockingIOError, ConnectionError):
        return None
    except IsADirectoryError:
        pass  # it is closed below, with all that is too many
    data, ancillary = next(again)[:2]
    kept = {end.fileno() for end in ends}
    user = None
    for level, kind, content in ancillary:
        if (level, kind) == RIGHTS:
            for number in set(array.array("i", content)) - kept:
                os.close(number)
        elif (level, kind) == _CREDENTIALS:
            user = _credentials.unpack(content)[1]
    return data, ends, user


def _pair() -> tuple[_Socket, _Socket]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ends = [_Socket(fileno=end.detach()) for end in pair]
    for end in ends:
        end.setblocking(False)
    return ends[0], ends[1]


def _directory() -> str:
    """Make a directory that only this user can enter, with a path short enough for a socket."""
    import tempfile

    short = len(os.fsencode(tempfile.gettempdir())) < _LONGEST_DIRECTORY
    return tempfile.mkdtemp(prefix="pipeproxy-", dir=None if short else "/tmp")


def _is_pipe(end: Descriptor, mode: int) -> bool:
    number = end.fileno()
    access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    return stat.S_ISFIFO(os.fstat(number).st_mode) and access == mode


def knocker(address: bytes) -> socket.socket:
    """Return a socket to knock with at an address.

    Raises:
        ConnectionRefusedError, FileNotFoundError: nobody answers there any more.
    """
    end = _Socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.setblocking(False)
    end.connect(address)
    return end


def knock(
    end: socket.socket,
    route: Route,
    who: tuple[bytes, int],
    nonce: bytes,
    descriptors: list[int],
) -> bool:
    """Send one knock; return False if the door is full now and it must be tried again.

    Args:
        who: the token of the process that knocks, and a number of the thread in it.
        nonce: 16 random bytes, which the hello must prove to have seen.
        descriptors: the owner's writing end, its reading end and, if this process was not
            introduced yet, its life descriptor.

    Raises:
        ConnectionError, OSError: nobody answers there any more.
    """
    body = _body.pack(VERSION, len(descriptors), route.listener, *who, nonce)
    return _send(end, route, body, descriptors)


def offer(end: socket.socket, route: Route, token: bytes, number: int, memory: Descriptor) -> bool:
    """Offer the owner a segment, and return False if the door is full; as `knock`.

    Args:
        token: that of this process, which has knocked before.
        number: the segment's name, before any frame that says it is sent.
        memory: what it is mapped by.
    """
    size = os.fstat(memory.fileno()).st_size
    body = _offered.pack(VERSION, 1, route.listener, token, number, size)
    return _send(end, route, body, [memory.fileno()])


def ask(door: socket.socket, route: Route, nonce: bytes, end: int) -> bool:
    """Ask for the memory of what is published, to be sent by a socket; False as from `knock`.

    Raises:
        ConnectionError, OSError: nobody answers there any more.
    """
    return _send(door, route, _asking.pack(VERSION, 1, route.listener, nonce), [end])


def _send(end: socket.socket, route: Route, body: bytes, descriptors: list[int]) -> bool:
    data = body + prove(route.secret, body)
    try:
        end.sendmsg([data], [(*RIGHTS, array.array("i", descriptors))])
    except (BlockingIOError, InterruptedError):
        return False
    except OSError as error:
        if error.errno in (errno.ETOOMANYREFS, errno.ENOBUFS):
            return False
        if error.errno == errno.ENOTCONN:  # somebody who shares the lobby was refused before
            raise ConnectionRefusedError(*error.args) from None
        raise
    return True


def check_hello(route: Route, nonce: bytes, payload: bytes | memoryview) -> None:
    """Pass if this hello can only come from the owner.

    Raises:
        ProtocolError: somebody else answered at the owner's address.
    """
    if not same(hello(route.secret, nonce), payload):
        raise ProtocolError("the process that answered at the owner's address is not the owner")


def hello(secret: bytes, nonce: bytes) -> bytes:
    """Return the payload of the owner's hello to a knock with this nonce."""
    return prove(secret, b"hello" + nonce)
