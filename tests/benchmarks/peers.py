"""Three ways to call one object from several processes, all by fork.

Each peer is made in the owner before its clients are forked and then used as its `Peer` says. Those
that have to be installed are in `others`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import select
import struct
from collections.abc import Callable, Sequence
from multiprocessing.managers import BaseManager
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from pipeproxy import aio, batch, managers, proxied, share, submit


@proxied(published=["total"])
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
    """What a client calls: the peer's own proxy, with nothing of ours round it.

    Where it has the way of an `InFlight`, a method of that name takes the number of calls.
    """

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


class PipeProxyCallee:
    """The proxy's own methods, and its verbs."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        self.add: Callable[[int], int] = proxy.add
        self.echo: Callable[[Any], Any] = proxy.echo

    def pipelined(self, times: int) -> None:
        with batch():
            futures = [submit(self.add, 1) for _ in range(times)]
        for future in futures:
            future.result()

    def submitted(self, times: int) -> None:
        for future in [submit(self.add, 1) for _ in range(times)]:
            future.result()

    def awaited(self, times: int) -> None:
        async def main() -> None:
            await asyncio.gather(*[aio(self.add)(1) for _ in range(times)])

        asyncio.run(main())

    def read(self, times: int) -> None:
        proxy = self._proxy
        for _ in range(times):
            proxy.total


class PipeProxy:
    def __init__(self, clients: int) -> None:
        self._counter = Counter()
        self._proxy, self._listener = share(self._counter)

    def connect(self, number: int) -> Callee:
        return PipeProxyCallee(self._proxy)

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


#: What a peer says whose owner does not count.
UNKNOWN = -1


class ManagedLock:
    """A lock of a manager's, which its clients take and give back."""

    def __init__(self, manager: Any, kind: str) -> None:
        self._manager = manager
        self._lock = getattr(manager, kind)()

    def connect(self, number: int) -> Any:
        return self._lock

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        for client in clients:
            client.join()

    def total(self) -> int:
        return UNKNOWN

    def close(self) -> None:
        self._manager.shutdown()


_size = struct.Struct("<I")
#: Calls that are in flight at once where they are pipelined.
_DEEP = 64
#: One read takes a whole small frame.
_CHUNK = 16384


def _send(descriptor: int, *values: object) -> None:
    data = b""
    for value in values:
        body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        if len(body) > _CHUNK:  # not copied once more
            os.write(descriptor, data + _size.pack(len(body)))
            data = body
        else:
            data += _size.pack(len(body)) + body
    sent = os.write(descriptor, data)
    while sent < len(data):
        sent += os.write(descriptor, memoryview(data)[sent:])


def _receive(descriptor: int) -> Any:
    (value,) = _receive_all(descriptor)
    return value


def _receive_all(descriptor: int) -> list[Any]:
    """Read once, and more where a message is cut off; return all messages that have come."""
    data = os.read(descriptor, _CHUNK)
    if not data:
        raise EOFError
    found, start = [], 0
    while start < len(data):
        while len(data) - start < _size.size:
            data += os.read(descriptor, _CHUNK)
        (size,) = _size.unpack_from(data, start)
        start += _size.size
        if size > len(data) - start:
            rest = bytearray(size)
            view = memoryview(rest)
            have = len(data) - start
            view[:have] = data[start:]
            while have < size:
                have += os.readv(descriptor, [view[have:]])
            found.append(pickle.loads(rest))
            break
        found.append(pickle.loads(memoryview(data)[start : start + size]))
        start += size
    return found


class RawClient:
    """A method is called by its name and arguments in a pickle."""

    def __init__(self, read: int, write: int, value: Any) -> None:
        self._read, self._write, self._value = read, write, value

    def add(self, amount: int) -> int:
        _send(self._write, ("add", amount))
        total: int = _receive(self._read)
        return total

    def echo(self, value: Any) -> Any:
        _send(self._write, ("echo", value))
        return _receive(self._read)

    def pipelined(self, times: int) -> None:
        """64 calls at a time, in one write."""
        body = pickle.dumps(("add", 1), pickle.HIGHEST_PROTOCOL)
        message = _size.pack(len(body)) + body
        left = times
        while left:
            deep = min(left, _DEEP)
            os.write(self._write, message * deep)
            answered = 0
            while answered < deep:
                answered += len(_receive_all(self._read))
            left -= deep

    submitted = pipelined

    def read(self, times: int) -> None:
        """Read a `multiprocessing.Value` under its lock."""
        value = self._value
        for _ in range(times):
            value.value


class Raw:
    """What one would write by hand: blocking pipes, and a loop round `getattr`."""

    def __init__(self, clients: int) -> None:
        self._counter = Counter()
        self._requests = [os.pipe() for _ in range(clients)]
        self._replies = [os.pipe() for _ in range(clients)]
        self._value = multiprocessing.Value("q")

    def connect(self, number: int) -> Callee:
        # Only the client itself may hold its request pipe open, or the owner never sees it end.
        for n, (_, write) in enumerate(self._requests):
            if n != number:
                os.close(write)
        return RawClient(self._replies[number][0], self._requests[number][1], self._value)

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
                    calls = _receive_all(read)
                except EOFError:
                    poll.unregister(read)
                    del replies[read]
                else:
                    _send(replies[read], *[getattr(self._counter, n)(a) for n, a in calls])
        for client in clients:
            client.join()

    def total(self) -> int:
        return self._counter.total

    def close(self) -> None:
        """The process ends with the measurement, and its descriptors with it."""


#: What makes the managers of those that have locks.
MANAGERS: dict[str, Callable[[Any], Any]] = {
    "manager": lambda context: context.Manager(),
    "pipeproxy": managers.Manager,
}

PEERS: dict[str, Callable[[int], Peer]] = {"raw": Raw, "manager": Manager, "pipeproxy": PipeProxy}
