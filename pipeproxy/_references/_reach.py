"""What can be asked of any proxy: is somebody there, how far is it, and let go of it."""

from __future__ import annotations

from time import perf_counter

from .._proxies._proxy import link_of
from .._specs._members import RUN
from ._references import homes, owner_at


def release(proxy: object, /) -> None:
    """Give back what this process holds by a proxy now, and not when the proxy is no more.

    Every later use of it in this process raises `Released`, in all threads, as it is one proxy for
    all of them; calls that are under way are answered still. The object is another proxy when it
    arrives again. Its owner gives it up once nobody else holds it either, and never one that it
    shared by `pipeproxy.share` or `Listener.share`. If the proxy was pickled, or this process has
    forked since it arrived, others may rely on it: then the object is held for as long as this
    process lives, as ever.

    It waits for nothing, and a second time does nothing.

    Raises:
        TypeError: `proxy` is no proxy.
    """
    link_of(proxy).release(proxy)


def is_alive(proxy: object, /) -> bool:
    """Return whether calls of a proxy can still be answered, as far as is known without one.

    They can unless the proxy was released, the process that holds the object is dead, or its
    listener is closed. It does not wait and makes no call: of an owner that is stopped, or does not
    serve just now, it is True.

    Raises:
        TypeError: `proxy` is no proxy.
    """
    link = link_of(proxy)
    if link.is_released:
        return False
    return link.route.listener in homes or owner_at(link.route).lines.is_open()


def ping(proxy: object, /) -> float:
    """Return the seconds that a call of the object takes now, there and back.

    It is a call of a method that does nothing: it waits as any other does, for the owner to serve,
    for calls before it, for whoever is in a section of the object, and no longer than `timeout`
    allows. The owner's `Listener.stats` count it as one of `pipeproxy.run`.

    Raises:
        TypeError: `proxy` is no proxy.
        CallTimeout: the deadline passed.
        OwnerDied, ListenerClosed, CallLost, Released: nobody answers.
    """
    link = link_of(proxy)
    began = perf_counter()
    link.call(RUN, (id,), None)
    return perf_counter() - began
