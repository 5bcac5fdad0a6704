"""Several calls as one: the block in which nobody else calls the object."""

from __future__ import annotations

import weakref
from itertools import count
from types import TracebackType
from typing import Generic, TypeVar

from .._system import _life
from ._proxy import link_of

T = TypeVar("T")

_enterings = count(1)


class locked(Generic[T]):  # noqa: N801 - reads as the verb that it is: ``with locked(proxy):``
    """Let nobody else call the object inside the block; its calls there are as one.

    Calls and blocks of other threads and processes wait, in the order in which they came. Blocks of
    one thread nest. `timeout` around it bounds the wait to get in. It ends with the block or, at
    once, with this process, whoever inherited its descriptors: then the method
    ``__pipeproxy_abandoned__(self)`` of the object is called, if its class defines one, before
    anybody else gets in, to mend what was left half done. A child that is forked inside the block
    is not in it.

    Args:
        proxy: as `share` returns it, here or elsewhere.

    Returns:
        The proxy, for ``as``.

    Raises:
        TypeError: it is no proxy.
        RuntimeError: the same ``locked(...)`` is entered a second time.
        CallTimeout: the deadline of `timeout` passed before the object was free.
        OwnerDied, ListenerClosed, CallLost, Released: nobody answers for the object.
        DeadlockError: in the owner's process, what the object is busy with waits for this thread.
    """

    __slots__ = ("__weakref__", "_entering", "_link", "_process", "_proxy")

    def __init__(self, proxy: T, /) -> None:
        self._proxy = proxy
        self._link = link_of(proxy)
        self._entering = 0
        self._process = b""

    def __enter__(self) -> T:
        if self._entering:
            raise RuntimeError("this block was entered before; make another: with locked(proxy):")
        self._entering, self._process = next(_enterings), _life.token()
        try:
            # If a signal handler raises before `__exit__` has begun, nobody else knows that the
            # block is over: it is found out by the reference.
            self._link.enter(self._entering, weakref.ref(self))
        except BaseException:
            self._link.withdraw(self._entering)
            raise
        return self._proxy

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process == _life.token():  # else this is a forked child's copy of the block
            self._link.leave(self._entering)
