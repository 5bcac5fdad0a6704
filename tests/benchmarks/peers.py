"""Three ways to call one object from several processes, all by fork.

Each peer is made in the owner before its clients are forked and then used as its `Peer` says.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import struct
from collections.abc import Callable, Sequence
from multiprocessing.managers import BaseManager
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from pipeproxy import share


class Counter:
    """The object that is called."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    def echo(self, value: Any) -> Any:
        return value

    def get(self) -> int:
        return self.total


class Callee(Protocol):
    """What a client calls: the peer's own proxy, with nothing of ours round it."""

    @property
    def add(self) -> Callable[[int], int]: ...

    @property
    def echo(self) -> Callable[[Any], Any]: ...


class Peer(Protocol):
    """One library, with one `Counter` in its owner."""

    def connect(self, number: int) -> Callee:
        """The proxy of client `number`; called in that client."""

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        """Answer calls until all clients have exited."""

    def total(self) -> int:
        """The owner's count."""

    def close(self) -> None: ...


class PipeProxy:
    def __init__(self, clients: int) -> None:
        self._counter = Counter()
        self._proxy, self._listener = share(self._counter)

    def connect(self, number: int) -> Callee:
        return self._proxy

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        self._listener.serve(until=clients)

    def total(self) -> int:
        return self._counter.total

    def close(self) -> None:
        self._listener.close()


class CounterManager(BaseManager):
    Counter: Callable[[], Any]


CounterManager.register("Counter", Counter)


class Manager:
    """`multiprocessing.Manager`'s way: the object is in a process of its own."""

    def __init__(self, clients: int) -> None:
        self._manager = CounterManager(ctx=multiprocessing.get_context("fork"))
        self._manager.start()
        self._proxy = self._manager.Counter()

    def connect(self, number: int) -> Callee:
        proxy: Callee = self._proxy
        return proxy

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        for client in clients:
            client.join()

    def total(self) -> int:
        total: int = self._proxy.get()
        return total

    def close(self) -> None:
        self._manager.shutdown()


_size = struct.Struct("<I")
#: One read takes a whole small frame.
_CHUNK = 16384


def _send(descriptor: int, value: object) -> None:
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    sent = os.writev(descriptor, [_size.pack(len(body)), body]) - _size.size
    while sent < len(body):
        sent += os.write(descriptor, memoryview(body)[sent:])


def _receive(descriptor: int) -> Any:
    start = os.read(descriptor, _CHUNK)
    if not start:
        raise EOFError
    (size,) = _size.unpack_from(start)
    if len(start) - _size.size == size:
        return pickle.loads(memoryview(start)[_size.size :])
    body = bytearray(size)
    rest = memoryview(body)
    rest[: len(start) - _size.size] = start[_size.size :]
    rest = rest[len(start) - _size.size :]
    while rest:
        rest = rest[os.readv(descriptor, [rest]) :]
    return pickle.loads(body)


class RawClient:
    """A method is called by its name and arguments in a pickle."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write

    def add(self, amount: int) -> int:
        _send(self._write, ("add", amount))
        total: int = _receive(self._read)
        return total

    def echo(self, value: Any) -> Any:
        _send(self._write, ("echo", value))
        return _receive(self._read)


class Raw:
    """What one would write by hand: blocking pipes, and a loop round `getattr`."""

    def __init__(self, clients: int) -> None:
        self._counter = Counter()
        self._requests = [os.pipe() for _ in range(clients)]
        self._replies = [os.pipe() for _ in range(clients)]

    def connect(self, number: int) -> Callee:
        # Only the client itself may hold its request pipe open, or the owner never sees it end.
        for n, (_, write) in enumerate(self._requests):
            if n != number:
                os.close(write)
        return RawClient(self._replies[number][0], self._requests[number][1])

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        replies = {}
        poll = select.poll()
        for (read, write), (_, reply) in zip(self._requests, self._replies, strict=True):
            os.close(write)
            replies[read] = reply
            poll.register(read, select.POLLIN)
        while replies:
            # With one client there is nothing to wait for but its next request.
            ready = poll.poll() if len(replies) > 1 else [(read, 0) for read in replies]
            for read, _ in ready:
                try:
                    name, argument = _receive(read)
                except EOFError:
                    poll.unregister(read)
                    del replies[read]
                else:
                    _send(replies[read], getattr(self._counter, name)(argument))
        for client in clients:
            client.join()

    def total(self) -> int:
        return self._counter.total

    def close(self) -> None:
        """The process ends with the measurement, and its descriptors with it."""


PEERS: dict[str, Callable[[int], Peer]] = {"raw": Raw, "manager": Manager, "pipeproxy": PipeProxy}
