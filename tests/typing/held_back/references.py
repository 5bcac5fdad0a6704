"""Objects that cannot be pickled and go by reference: proxies of them, and what `by_ref` says."""

from __future__ import annotations

import queue
import socket
import threading

from pipeproxy import Listener, by_ref, share, spawn

from .owners import Guarded, Store

guarded, listener = share(Guarded())
store = listener.share(Store())


def proxies_have_the_types_of_their_objects() -> None:
    lock, _ = share(threading.Lock())
    store.put(lock)
    store.put([lock, {"lock": lock}])
    guarded.work("a", lock)
    guarded.work_all(["a"], [lock])
    for proxy in (lock, lock):
        store.put(proxy)
    jobs, _ = spawn(queue.SimpleQueue[int])
    store.put(jobs)
    event = Listener().share(threading.Event())
    store.put((1, event))


def what_is_said_to_go_by_reference(lock: threading.Lock, sock: socket.socket) -> None:
    store.put(by_ref(lock))
    store.put([by_ref(sock)])
    store.put(by_ref(lambda: 3))
    guarded.work("a", by_ref(lock))
    guarded.apply(by_ref(lambda n: n + 1))
