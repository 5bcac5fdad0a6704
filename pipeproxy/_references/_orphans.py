"""Processes that end with the owner of an object, whatever they wait for.

A call to an owner that is dead raises, but a process that waits for something else, an item of a
queue that only the owner fills, learns nothing. Here a thread waits for the owner in its place.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

from .._proxies._proxy import link_of
from .._system import _life
from .._system._descriptors import Descriptor
from ..transports.pipe import wait_for
from ._references import owner_at

#: Seconds between two looks for the owner, where the system has no life descriptor of it.
_LOOK: Final = 0.5


class _Watched:
    """The listeners whose process this one ends with."""

    def __init__(self) -> None:
        self.listeners: set[bytes] = set()
        self.lock = threading.Lock()
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: the threads that waited are the parent's."""
        self.listeners = set()
        self.lock = threading.Lock()


_watched = _Watched()


def end_with(proxy: object, /) -> None:
    """Let this process end when the process that holds the object of `proxy` does.

    From now on, whatever this process waits for, it gets a SIGTERM once that one is dead, however
    it died: where there is no handler for that, it ends at once, as by ``kill``; with a handler
    that raises (``signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))``), its ``finally`` clauses
    and exit handlers run. It does not end if it ignores the signal.

    A daemon thread waits for it, which uses no processor time. A child that is forked later has no
    such thread: it says `end_with` itself. A second time, with any object of the same listener, it
    does nothing. A listener that is closed ends nobody. An owner that ends in peace first waits for
    those of its `multiprocessing` children that are no daemons: end them in another way.

    Like a first call, it waits until the owner serves its listener, unless this process was forked
    from the owner or has called it before.

    Raises:
        ValueError: this process itself holds the object.
        OwnerDied: the other one is dead already.
        ListenerClosed, CallLost, CallTimeout: it does not answer, as for any call.
        TypeError: `proxy` is no proxy.
    """
    link = link_of(proxy)
    if link.route.pid == os.getpid():
        raise ValueError(
            f"{proxy!r} stands for an object of this process itself: end_with() is for the other "
            f"processes, which are to end when this one does"
        )
    life = owner_at(link.route).lines.proven_life()
    with _watched.lock:
        if link.route.listener not in _watched.listeners:
            wait = (life, link.route.pid)
            threading.Thread(target=_end, args=wait, name="pipeproxy", daemon=True).start()
            _watched.listeners.add(link.route.listener)


def _end(life: Descriptor | None, pid: int) -> None:
    if life is not None:
        wait_for((life.fileno(), False))
    else:
        while _life.exists(pid):
            wait_for(timeout=_LOOK)
    # To the main thread, as what waits there is to be interrupted, and handlers run there.
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
