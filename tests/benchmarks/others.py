"""Peers that have to be installed: ``pip install Pyro5 rpyc execnet xoscar ray distributed``.

Each is used as its documentation says one should to be fast, over Unix sockets where it can. And
those of `bulk`, which need NumPy alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from .bulk import InLine, Shm

#: Seconds between two looks for what is not there yet, or whether the clients have ended.
_LOOK = 0.01
#: RPyC deadlocks when both socket buffers are full, so no more are in flight at once.
_MOST_IN_FLIGHT = 100


class Counter:
    """The object that is called, with nothing of pipeproxy."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    def echo(self, value: Any) -> Any:
        return value

    def get(self) -> int:
        return self.total


def are_alive(clients: Sequence[BaseProcess]) -> bool:
    return any(client.is_alive() for client in clients)


def join(clients: Sequence[BaseProcess]) -> None:
    for client in clients:
        client.join()


def tried(call: Callable[[], Any]) -> Any:
    """What `call` returns, once it does not raise any more."""
    while True:
        try:
            return call()
        except (OSError, LookupError):
            time.sleep(_LOOK)


class Callee:
    """Synchronous methods, and whatever ways to have calls in flight there are."""

    def __init__(self, add: Callable[[int], int], echo: Callable[[Any], Any], **ways: Any) -> None:
        self.add, self.echo = add, echo
        self.__dict__.update(ways)


class Pyro5:
    def __init__(self, clients: int) -> None:
        self._api = pyro = import_module("Pyro5.api")
        pyro.config.DETAILED_TRACEBACK = False
        self._folder = tempfile.TemporaryDirectory()
        self._daemon = pyro.Daemon(unixsocket=os.path.join(self._folder.name, "socket"))
        self._counter = pyro.expose(Counter)()
        self._uri = self._daemon.register(self._counter)

    def connect(self, number: int) -> Callee:
        proxy = self._api.Proxy(self._uri)

        def pipelined(times: int) -> None:
            calls = self._api.BatchProxy(proxy)
            for _ in range(times):
                calls.add(1)
            for _ in calls():
                pass

        return Callee(proxy.add, proxy.echo, pipelined=pipelined, submitted=pipelined)

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        self._daemon.requestLoop(lambda: are_alive(clients))

    def total(self) -> int:
        return int(self._counter.total)

    def close(self) -> None:
        self._daemon.close()
        self._folder.cleanup()


class Rpyc:
    def __init__(self, clients: int) -> None:
        self._rpyc = rpyc = import_module("rpyc")
        server = import_module("rpyc.utils.server")
        self._counter = counter = Counter()

        class Service(rpyc.Service):  # type: ignore[name-defined, misc]
            exposed_add = staticmethod(counter.add)
            exposed_echo = staticmethod(counter.echo)

        self._folder = tempfile.TemporaryDirectory()
        self._path = os.path.join(self._folder.name, "socket")
        self._server = server.ThreadedServer(Service, socket_path=self._path)

    def connect(self, number: int) -> Callee:
        self._server.listener.close()
        connection = tried(lambda: self._rpyc.utils.factory.unix_connect(self._path))
        root = connection.root

        def pipelined(times: int) -> None:
            add = self._rpyc.async_(root.add)
            asked: deque[Any] = deque()
            for _ in range(times):
                asked.append(add(1))
                if len(asked) >= _MOST_IN_FLIGHT:
                    asked.popleft().wait()
            for answer in asked:
                answer.wait()

        return Callee(root.add, root.echo, pipelined=pipelined, submitted=pipelined)

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        threading.Thread(target=self._server.start, daemon=True).start()
        join(clients)

    def total(self) -> int:
        return self._counter.total

    def close(self) -> None:
        self._server.close()
        self._folder.cleanup()


#: The process of a gateway: it holds the object and answers what comes.
_SERVE_CHANNEL = """
total = 0
for value in channel:
    if isinstance(value, int):
        value = total = total + value
    channel.send(value)
"""


class Execnet:
    """It has no proxies: the object is in a gateway, and what it is sent are numbers to add."""

    def __init__(self, clients: int) -> None:
        self._execnet = import_module("execnet")
        self._clients = clients

    def connect(self, number: int) -> Callee:
        if self._clients > 1:
            raise LookupError("each gateway has an object of its own")
        gateway = self._execnet.makegateway(f"popen//python={sys.executable}")
        channel = gateway.remote_exec(_SERVE_CHANNEL)

        def ask(value: Any) -> Any:
            channel.send(value)
            return channel.receive()

        def pipelined(times: int) -> None:
            for _ in range(times):
                channel.send(1)
            for _ in range(times):
                channel.receive()

        return Callee(ask, ask, pipelined=pipelined, submitted=pipelined)

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        join(clients)

    def total(self) -> int:
        return -1  # it is known to the gateway only

    def close(self) -> None: ...


class Xoscar:
    def __init__(self, clients: int) -> None:
        self._xoscar = import_module("xoscar")
        self._counter = Counter()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"

    def connect(self, number: int) -> Callee:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)

        async def find() -> Any:
            while True:
                try:
                    return await self._xoscar.actor_ref(address=self._address, uid="counter")
                except Exception:
                    await asyncio.sleep(_LOOK)

        actor = loop.run_until_complete(find())

        async def all_of(times: int) -> None:
            await asyncio.gather(*[actor.add(1) for _ in range(times)])

        def fly(times: int) -> None:
            loop.run_until_complete(all_of(times))

        return Callee(
            lambda amount: loop.run_until_complete(actor.add(amount)),
            lambda value: loop.run_until_complete(actor.echo(value)),
            pipelined=fly,
            submitted=fly,
            awaited=fly,
        )

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        counter = self._counter

        class Actor(self._xoscar.Actor):  # type: ignore[name-defined, misc]
            def add(self, amount: int) -> int:
                return counter.add(amount)

            def echo(self, value: Any) -> Any:
                return value

        async def main() -> None:
            pool = await self._xoscar.create_actor_pool(self._address, n_process=0)
            await self._xoscar.create_actor(Actor, address=self._address, uid="counter")
            await asyncio.to_thread(join, clients)
            await pool.stop()

        asyncio.run(main())

    def total(self) -> int:
        return self._counter.total

    def close(self) -> None: ...


class Ray:
    def __init__(self, clients: int) -> None:
        self._ray = import_module("ray")

    def connect(self, number: int) -> Callee:
        self._ray.init(num_cpus=2, log_to_driver=False, logging_level="error")
        actor = self._ray.remote(Counter).remote()
        get = self._ray.get

        def fly(times: int) -> None:
            get([actor.add.remote(1) for _ in range(times)])

        async def all_of(times: int) -> None:
            async def one() -> Any:
                answer: Awaitable[Any] = actor.add.remote(1)
                return await answer

            await asyncio.gather(*[one() for _ in range(times)])

        return Callee(
            lambda amount: get(actor.add.remote(amount)),
            lambda value: get(actor.echo.remote(value)),
            pipelined=fly,
            submitted=fly,
            awaited=lambda times: asyncio.run(all_of(times)),
        )

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        join(clients)

    def total(self) -> int:
        return -1  # it is known to the actor only

    def close(self) -> None: ...


class Dask:
    """An actor in a worker process of a cluster on this machine."""

    def __init__(self, clients: int) -> None:
        self._dask = import_module("distributed")

    def connect(self, number: int) -> Callee:
        dask = self._dask
        cluster = dask.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
        )
        client = dask.Client(cluster)
        for end in (client.close, cluster.close):
            Finalize(None, end, exitpriority=1)
        actor = client.submit(Counter, actor=True).result()

        def fly(times: int) -> None:
            for future in [actor.add(1) for _ in range(times)]:
                future.result()

        return Callee(
            lambda amount: actor.add(amount).result(),
            lambda value: actor.echo(value).result(),
            pipelined=fly,
            submitted=fly,
        )

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        join(clients)

    def total(self) -> int:
        return -1  # it is known to the actor only

    def close(self) -> None: ...


OTHERS: dict[str, Callable[[int], Any]] = {
    "shm": Shm,
    "inline": InLine,
    "pyro5": Pyro5,
    "rpyc": Rpyc,
    "execnet": Execnet,
    "xoscar": Xoscar,
    "ray": Ray,
    "dask": Dask,
}
