"""Share live objects between processes.

An object that cannot be copied stays in its owner process; the others use it through a proxy, as if
they held it. See the README for the first program.

The packages, from the doors down. Each imports only what stands below it, and lists its rooms:

    __init__, proxy, errors     what users import
    managers > _managed         the interface of multiprocessing.managers
    testing                     the chaos kit, for users' classes and transports
    __main__ > stubs > _stubs   types of proxies, written
    mypy_plugin > _mypy         and taken by mypy

    _owner                      the side that answers: a listener, and everything that it serves
    _references                 live objects that travel, and what becomes of them at home
    _stands                     locks and queues, called in the name of processes that may die
    _client                     the side that calls
    _objects                    what an owner keeps: objects, what they show, who holds them
    _chains                     whose a call is, and what it may enter
    _proxies                    from a spec to the class of its proxies; the verbs
    _specs                      from a class to its spec
    codecs                      from values to bytes, and back
    _channels                   a door, a pipe each way, frames, and memory beside them
    transports                  what reads, writes and waits
    _system                     descriptors, memory, locks, time, signals

A call goes down on one side and up on the other: `_proxies` binds its arguments, `_client` encodes
them and waits, `_channels` carries the frame; in `_owner` it is attended to, dispatched and
answered, and the reply goes the same way back.
"""

import sys
import typing

if sys.platform == "win32":
    raise ImportError(
        "pipeproxy runs on Linux and macOS: it passes descriptors through Unix sockets, which "
        "Python does not offer on Windows. Under WSL it works."
    )

from ._references._values import by_value, by_view
from ._specs._marks import blocking, by_reference, exposed, hidden, oneway, published, readonly
from ._specs._options import proxied
from ._system._deadline import timeout
from .errors import (
    CallLost,
    CallTimeout,
    Cancelled,
    ClientDied,
    CodecError,
    DeadlockError,
    ListenerClosed,
    NotExposed,
    OwnerDied,
    PipeProxyError,
    ProtocolError,
    Released,
    RemoteError,
    RemoteTraceback,
    SpecError,
)

if typing.TYPE_CHECKING:
    from ._client._awaited import aio
    from ._client._futures import submit
    from ._owner._listener import Listener, share
    from ._owner._spawn import Host, spawn, spawning
    from ._proxies._locked import locked
    from ._proxies._shared import Shared
    from ._proxies._verbs import batch, notify, run
    from ._references._lent import by_ref
    from ._references._orphans import end_with
    from ._references._reach import is_alive, ping, release
    from ._references._values import by_value, by_view
    from ._specs._batching import batched
    from ._stands._waits import cancelled

__all__ = [
    "CallLost",
    "CallTimeout",
    "Cancelled",
    "ClientDied",
    "CodecError",
    "DeadlockError",
    "Host",
    "Listener",
    "ListenerClosed",
    "NotExposed",
    "OwnerDied",
    "PipeProxyError",
    "ProtocolError",
    "Released",
    "RemoteError",
    "RemoteTraceback",
    "Shared",
    "SpecError",
    "aio",
    "batch",
    "batched",
    "blocking",
    "by_ref",
    "by_reference",
    "by_value",
    "by_view",
    "cancelled",
    "end_with",
    "exposed",
    "hidden",
    "is_alive",
    "locked",
    "notify",
    "oneway",
    "ping",
    "proxied",
    "published",
    "readonly",
    "release",
    "run",
    "share",
    "spawn",
    "spawning",
    "submit",
    "timeout",
]

#: Loaded when it is asked for: a client that unpickles a proxy and calls it needs none of it.
_LATER = {
    "Host": "_owner._spawn",
    "Listener": "_owner._listener",
    "Shared": "_proxies._shared",
    "aio": "_client._awaited",
    "batch": "_proxies._verbs",
    "batched": "_specs._batching",
    "by_ref": "_references._lent",
    "by_value": "_references._values",
    "by_view": "_references._values",
    "cancelled": "_stands._waits",
    "end_with": "_references._orphans",
    "is_alive": "_references._reach",
    "locked": "_proxies._locked",
    "notify": "_proxies._verbs",
    "ping": "_references._reach",
    "release": "_references._reach",
    "run": "_proxies._verbs",
    "share": "_owner._listener",
    "spawn": "_owner._spawn",
    "spawning": "_owner._spawn",
    "submit": "_client._futures",
}


def __getattr__(name: str) -> typing.Any:
    from importlib import import_module

    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
