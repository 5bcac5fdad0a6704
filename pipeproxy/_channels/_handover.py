"""How the memory of what is published comes to those who read it.

Descriptors travel one way by the door, from client to owner. So a client sends one end of a socket
pair, and the owner answers there, once, and never waits for it. With the descriptor comes the keyed
hash of the client's nonce, for what is in that memory is unpickled by who reads it.
"""

from __future__ import annotations

import array
import os
import socket
from _socket import socketpair
from collections.abc import Iterable
from itertools import chain, repeat, starmap
from typing import Any

from .._system import _descriptors
from .._system._descriptors import Descriptor
from ..errors import ProtocolError
from . import _door
from ._door import PROOF_SIZE, RIGHTS, Asking, Route, prove


class End(socket.SocketType):
    """One end of a socket pair; it closes itself when it is forgotten, as a `Descriptor` does."""

    __slots__ = ()
    __del__ = socket.SocketType.close


def _ends(numbers: Iterable[int]) -> list[End]:
    """Adopt sockets; where `numbers` makes them as it goes, in C, none can be lost."""
    return list(map(End, repeat(-1), repeat(-1), repeat(-1), numbers))


def ask(door: Any, route: Route, nonce: bytes) -> End | None:
    """Ask for the memory; return where it will come, or None if the door is full now.

    Raises:
        OSError: nobody answers there any more, or this process is out of descriptors.
    """
    with _descriptors.lock:
        pairs = starmap(socketpair, ((socket.AF_UNIX, socket.SOCK_STREAM),))
        own, theirs = _ends(map(socket.SocketType.detach, chain.from_iterable(pairs)))
        own.setblocking(False)
        sent = _door.ask(door, route, nonce, theirs.fileno())
        theirs.close()
    return own if sent else None


def give(asking: Asking, secret: bytes, descriptor: Descriptor) -> None:
    """Send the memory to who asked for it.

    Raises:
        OSError: that one is gone, or this process is out of descriptors.
    """
    rights = (*RIGHTS, array.array("i", [descriptor.fileno()]))
    with _descriptors.lock:
        (end,) = _ends(map(os.dup, (asking.end.fileno(),)))
        end.sendmsg([_proof(secret, asking.nonce)], [rights], socket.MSG_DONTWAIT)


def take(end: End, route: Route, nonce: bytes) -> Descriptor | None:
    """Return the memory that was asked for; None if it has not come yet.

    Raises:
        EOFError: it will not come.
        ProtocolError: it was not the owner who sent this.
    """
    got = _door.receive(end, PROOF_SIZE)
    if got is None:
        return None
    data, found, _ = got
    if not data:
        raise EOFError
    if len(found) != 1 or not _door.same(_proof(route.secret, nonce), data):
        raise ProtocolError("the process that answered at the owner's address is not the owner")
    return found[0]


def _proof(secret: bytes, nonce: bytes) -> bytes:
    return prove(secret, b"memory" + nonce)
