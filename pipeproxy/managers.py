"""`multiprocessing.managers` on this engine: the same calls, so that changing one import moves a
program over.

A manager is a process of its own, in which objects are made; what is returned are proxies as
`pipeproxy.share` makes them. What is different from the standard manager is said in the README.

``from pipeproxy.managers import Manager`` stands for ``from multiprocessing import Manager``, and
all other names for those of `multiprocessing.managers`.
"""

from __future__ import annotations

import pickle
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import ProcessError, current_process, get_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from ._managed import _containers as containers
from ._managed import _pools as pools
from ._managed._containers import Namespace
from ._managed._desk import Desk, ask_at
from ._managed._proxies import (
    STANDARD,
    AcquirerProxy,
    ArrayProxy,
    AutoProxy,
    BaseProxy,
    ConditionProxy,
    DictProxy,
    EventProxy,
    IteratorProxy,
    ListProxy,
    MakeProxyType,
    NamespaceProxy,
    ValueProxy,
    proxy_of,
)
from ._managed._registry import Registration, Registry
from ._owner._listener import Listener
from ._owner._spawn import Host, spawn, spawning
from ._proxies._proxy import link_of
from ._references._references import owner_at
from ._stands._reentrant import RLock
from .errors import RemoteError

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    from typing_extensions import Self


__all__ = [
    "AcquirerProxy",
    "ArrayProxy",
    "AutoProxy",
    "BaseManager",
    "BaseProxy",
    "ConditionProxy",
    "DictProxy",
    "EventProxy",
    "IteratorProxy",
    "ListProxy",
    "MakeProxyType",
    "Manager",
    "Namespace",
    "NamespaceProxy",
    "RemoteError",
    "Server",
    "SyncManager",
    "ValueProxy",
]

_INITIAL, _STARTED, _ENDED = "not started", "started", "shut down"


class Server:
    """A manager's registry, served by this process.

    Attributes:
        address: where others connect to it.
        listener: the socket for that.
    """

    def __init__(self, registry: Mapping[str, Registration], address: Any, authkey: bytes) -> None:
        self._owner = Listener[Registry]()
        proxy = self._owner.share(Registry(registry))
        self._desk = Desk(address, authkey, pickle.dumps(proxy))
        self.address: Any = self._desk.address
        self.listener: Any = self._desk.listener

    def serve_forever(self) -> None:
        """Serve until Ctrl-C, or until `stop` is called."""
        self._desk.open()
        try:
            self._owner.serve()
        except KeyboardInterrupt:
            pass
        finally:
            self.stop()

    def stop(self) -> None:
        """Serve no more; later calls raise `ListenerClosed`."""
        self._desk.close()
        self._owner.close()


class BaseManager:
    """A process that makes objects of the types that are registered with the manager's class.

    Args:
        address: where others connect to it, as `multiprocessing.connection.Listener` takes it; made
            up if it is None.
        authkey: the key for that; that of this process if it is None.
        serializer: "pickle"; there is no other.
        ctx: the multiprocessing context that starts the process.
        shutdown_timeout: seconds that `shutdown` gives the process to end.
    """

    _registry: ClassVar[dict[str, Registration]] = {}

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: BaseContext | None = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        if serializer != "pickle":
            raise ValueError(f"a manager sends what it sends by pickle, not by {serializer!r}")
        self._address = address
        self._authkey = bytes(current_process().authkey if authkey is None else authkey)
        self._context = ctx or get_context()
        self._patience = shutdown_timeout
        self._state = _INITIAL
        self._root: Any = None
        self._host: Host | None = None
        self._process: BaseProcess | None = None
        self._plain: dict[str, bool] = {}

    # -- types ------------------------------------------------------------------------------------

    @classmethod
    def register(  # noqa: PLR0913, PLR0917 - as the standard one
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,  # noqa: A002 - as the standard one
        proxytype: Any = None,
        exposed: Iterable[str] | None = None,
        method_to_typeid: Mapping[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Register a type with this class of managers.

        Args:
            typeid: its name.
            callable: what makes an object of it, in the manager's process. None for a manager that
                only connects to another.
            proxytype: a class derived from `BaseProxy`, for its proxies. None, or a standard one
                such as `DictProxy`, for proxies that show all that is public, as those of `share`.
            exposed: the names of the methods that proxies may call, in place of that.
            method_to_typeid: for methods whose results are to be managed objects themselves, the
                names of their types.
            create_method: whether managers have a method `typeid` that makes an object.
        """
        if proxytype in STANDARD:
            proxytype = None
        exposed = exposed or getattr(proxytype, "_exposed_", None)
        typeids = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None) or {}
        names = None if exposed is None else tuple(exposed)
        entry = Registration(callable, names, dict(typeids), proxytype)
        cls._registry = {**cls._registry, typeid: entry}
        if create_method:
            setattr(cls, typeid, _creator(typeid))

    def _create(self, typeid: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._check(_STARTED)
        proxytype = self._registry[typeid].proxytype
        if typeid not in self._plain:
            self._plain[typeid] = proxytype is None and self._root.is_plain(typeid)
        if self._plain[typeid]:
            return self._root.create(typeid, args, kwargs)
        handled = self._root.handle(typeid, args, kwargs, proxytype is None)
        return proxy_of(handled, proxytype)

    # -- life -------------------------------------------------------------------------------------

    def start(
        self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()
    ) -> None:
        """Start the manager's process; it ends with this one.

        Args:
            initializer: if given, called in it at first, as ``initializer(*initargs)``.
        """
        self._check(_INITIAL)
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        with spawning(self._context):
            self._root, self._host = spawn(Registry, self._registry, initializer, tuple(initargs))
        self._process = self._host.process
        self._state = _STARTED
        # When this manager and all its proxies are forgotten, here.
        owner = owner_at(link_of(self._root).route)
        self._end = weakref.finalize(owner, _end, self._host, self._patience)
        self._end.atexit = False  # a host sees to that itself
        if self._address is not None:
            try:
                self._open()
            except BaseException:
                self.shutdown()
                raise

    def connect(self) -> None:
        """Use the process of another manager, at the address and with the key of this one.

        It must be the same user's, on the same machine.

        Raises:
            AuthenticationError: it has another key.
        """
        self._check(_INITIAL)
        self._root = ask_at(self._address, self._authkey)
        self._state = _STARTED

    def get_server(self) -> Server:
        """Return what serves the registered types in this process, by ``serve_forever()``."""
        self._check(_INITIAL)
        return Server(self._registry, self._address, self._authkey)

    @property
    def address(self) -> Any:
        """Where others connect to it."""
        if self._address is None and self._host is not None and self._state == _STARTED:
            self._open()
        return self._address

    def _open(self) -> None:
        self._address = self._root.open(self._address, self._authkey, pickle.dumps(self._root))

    def shutdown(self) -> None:
        """End the manager's process; its proxies raise `OwnerDied` from then on.

        A second time does nothing, nor does it for a manager that is only connected.
        """
        if self._host is not None and self._state == _STARTED:
            self._state = _ENDED
            self._end()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the manager's process has ended."""
        if self._process is not None:
            self._process.join(timeout)

    def __enter__(self) -> Self:
        if self._state == _INITIAL:
            self.start()
        self._check(_STARTED)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def _check(self, state: str) -> None:
        if self._state != state:
            raise ProcessError(f"this manager is {self._state}, and it has to be {state} for that")


def _end(host: Host, patience: float) -> None:
    """End a manager's process; kill it if it takes longer than `patience` seconds."""
    killer = threading.Timer(patience, host.process.kill)
    killer.start()
    try:
        host.close()
    finally:
        killer.cancel()
        killer.join()


def _creator(typeid: str) -> Callable[..., Any]:
    def create(self: BaseManager, /, *args: Any, **kwargs: Any) -> Any:
        return self._create(typeid, args, kwargs)

    create.__name__ = typeid
    create.__doc__ = f"Make an object of the type {typeid!r} and return its proxy."
    return create


class SyncManager(BaseManager):
    """A manager with the usual types: containers, queues, locks and pools."""

    # What `register` makes below, for type checkers.
    Queue: Callable[..., queue.Queue[Any]]
    JoinableQueue: Callable[..., queue.Queue[Any]]
    Event: Callable[[], threading.Event]
    Lock: Callable[[], threading.Lock]
    RLock: Callable[[], threading.RLock]
    Semaphore: Callable[..., threading.Semaphore]
    BoundedSemaphore: Callable[..., threading.BoundedSemaphore]
    Condition: Callable[..., ConditionProxy]
    Barrier: Callable[..., threading.Barrier]
    Pool: Callable[..., pools.Pool]
    list: Callable[..., containers.List]
    dict: Callable[..., containers.Dict]
    Value: Callable[..., containers.Value]
    Array: Callable[..., containers.Array]
    Namespace: Callable[..., containers.Namespace]


def _condition(lock: Any = None) -> threading.Condition:
    own: Any = RLock()
    return threading.Condition(own if lock is None else lock)


SyncManager.register("Queue", queue.Queue)
SyncManager.register("JoinableQueue", queue.Queue)
SyncManager.register("Event", threading.Event)
SyncManager.register("Lock", threading.Lock)
SyncManager.register("RLock", RLock)
SyncManager.register("Semaphore", threading.Semaphore)
SyncManager.register("BoundedSemaphore", threading.BoundedSemaphore)
SyncManager.register("Condition", _condition, ConditionProxy)
SyncManager.register("Barrier", threading.Barrier)
SyncManager.register("Pool", pools.Pool)
SyncManager.register("list", containers.List)
SyncManager.register("dict", containers.Dict)
SyncManager.register("Value", containers.Value)
SyncManager.register("Array", containers.Array)
SyncManager.register("Namespace", Namespace)


def Manager(ctx: BaseContext | None = None) -> SyncManager:  # noqa: N802 - as the standard one
    """Return a started manager with the usual types.

    Args:
        ctx: the multiprocessing context that starts its process: ``Manager(ctx)`` stands for
            ``ctx.Manager()``.
    """
    manager = SyncManager(ctx=ctx)
    manager.start()
    return manager
