"""The names of the original package, so that programs written for it run unchanged.

    from pipeproxy import proxy

    exampleProxy, exampleProxyListener = proxy.createProxy(example)
    exampleProxyListener.listen()

New programs use `pipeproxy.share` and the listener's `serve`.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from ._owner._listener import Listener, share

__all__ = ["ProxyListener", "createProxy"]

T = TypeVar("T")

#: Seconds that the original waited for a message.
_PATIENCE: Final = 0.2


class ProxyListener(Generic[T]):
    """A listener with the original's one method.

    Attributes:
        listener: the `pipeproxy.Listener` behind it.
    """

    def __init__(self, listener: Listener[T]) -> None:
        self.listener = listener

    def listen(self) -> bool:
        """Answer the calls that come within 0.2 s; return whether there were any.

        Raises:
            ListenerClosed: the listener behind it was closed.
        """
        return self.listener.poll(_PATIENCE) > 0


def createProxy(obj: T) -> tuple[T, ProxyListener[T]]:  # noqa: N802 - the original's name
    """Share an object; see `pipeproxy.share`."""
    proxy, listener = share(obj)
    return proxy, ProxyListener(listener)
