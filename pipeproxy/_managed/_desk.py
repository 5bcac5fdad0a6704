"""The desk: where processes that are no relatives get their first reference.

It is a socket, with the handshake of `multiprocessing.connection`: both sides prove by a keyed hash
that they know the authkey, and neither unpickles anything before. Who passes gets a reference, and
nothing else is ever said here. Whoever has it can run code in this process, by pickle; the door
that it leads to lets in processes of the same user on the same machine only.
"""

from __future__ import annotations

import os
import pickle
import threading
from multiprocessing import AuthenticationError
from multiprocessing.connection import (
    Client,
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from typing import Any

from .._channels._door import ABSTRACT

#: Connections that may wait until they are taken.
_BACKLOG = 16
#: Seconds before another attempt, when this process is out of descriptors.
_PAUSE = 0.1


class Desk:
    """Hands out a reference to whoever knows the key, once it is opened.

    Args:
        address: as `multiprocessing.connection.Listener` takes it; None for one that is made up.
        authkey: the key.
        reference: what is handed out.

    Attributes:
        listener: its socket.
        address: what strangers connect to.

    Raises:
        OSError: the address is taken, or cannot be had.
    """

    def __init__(self, address: Any, authkey: bytes, reference: bytes) -> None:
        if address is None and ABSTRACT:  # it leaves no file behind
            address = f"\0pipeproxy-{os.urandom(16).hex()}"
        self.listener = Listener(address, backlog=_BACKLOG)
        self.address = self.listener.address
        self._key, self._reference = bytes(authkey), reference
        self._closed = threading.Event()

    def open(self) -> None:
        """Serve it, in a thread, until it is closed."""
        threading.Thread(target=self._serve, name="pipeproxy desk", daemon=True).start()

    def close(self) -> None:
        """Hand out no more."""
        self._closed.set()
        try:
            Client(self.address).close()  # wakes the thread
        except OSError:
            pass
        self.listener.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                stranger: Any = self.listener.accept()
            except OSError:
                self._closed.wait(_PAUSE)
                continue
            # A thread for each: one that says nothing keeps nobody else waiting.
            threading.Thread(target=self._welcome, args=(stranger,), daemon=True).start()

    def _welcome(self, stranger: Connection) -> None:
        try:
            with stranger:
                deliver_challenge(stranger, self._key)
                answer_challenge(stranger, self._key)
                stranger.send_bytes(self._reference)
        except (AuthenticationError, EOFError, OSError):
            pass  # it does not know the key, or is gone


def ask_at(address: Any, authkey: bytes) -> Any:
    """Return what is handed out at a desk.

    Raises:
        AuthenticationError: the two keys are not the same.
        OSError: nobody is there.
    """
    with Client(address, authkey=bytes(authkey)) as desk:
        return pickle.loads(desk.recv_bytes())
