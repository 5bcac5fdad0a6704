"""Share live objects between processes.

An object that cannot be copied stays in its owner process; the others use it through a proxy, as if
they held it. See the README for the first program.

The rooms of this package, from the doors down; each imports only what stands below it (but
`_references`, which lends, and so asks `_lent` when there is something to lend):

    doors    __init__, proxy                       what users import
             testing > _taps, _transport_check     the chaos kit, for users' classes and transports
             managers > _managed                   multiprocessing.managers' interface
             __main__ > stubs > _stubs             types of proxies, written
             mypy_plugin > _mypy                   and taken by mypy
    ends     _spawn > _listener > _stats, _loop    share, serve, also in an event loop
             _turns > _service                     whose turn it is; wait, see who is there
             _service > _published                 keep what is read without a call
             _attendance > _dispatch, _upcalls     one channel: read, reply; look up, run; call back
             _upcalls > _voice                     what is said beside replies
             _dispatch > _admission, _answers      wait in line; run, and make a reply
             _answers > _errands                   calls that take longer than a turn
             _errands > _batches, _workers         many at once, in threads of their own
             _batches > _tasks                     in an event loop
             _errands > _retries                   calls that are tried again before they wait
    faces    _locked, _orphans, _lent              several calls as one; what a client lends
             _reach                                is somebody there; what is given back
             _futures, _awaited > _verbs           calls that are not waited for, and how they begin
             _lent > _home > _direct               objects at home; how calls there are run
             _home > _outgoing                     what leaves, and how
             _outgoing > _references > _faces      references; what an object shows
             _references > _proxy, _values         spec → class; copies and views
    memory   _streams > _calls > _inside           a client's calls, and what it is inside of
             _calls > _promises > _pool            what comes of them; memory that is lent for bulk
             _calls > _readings                    what it reads without a call
             _objects, _callers, _residence        the owner's objects, channels, calls at home
             _publishing > _subjects               objects whose changes are published, and others
             _primitives > _reentrant              locks, and one that is its caller's
             _reentrant > _takers                  what the dead had is given back
             _queues, _takers > _waits             waiting in the name of who may die
             _waits > _clients > _borrowed         the owner's clients; memory that they lend it
             _deadlocks > _sections > _activities  the right to an object; whose a call is
    motion   _exchange > _lines > _channel         a frame and its reply; each thread's own channel
             _exchange > _courier > _flight        calls in flight, and who carries them
             _flight > _outbox, _gathering         what is to be written; what is kept back
             _outbox > _asking                     who waits for what is said to that
             _lines, _readings > _way              whether it is open; what an end means
             _lines > _held, _context              what this process holds; of which chain it is
    leaves   _wire, codecs, transports, _door, _life, _until, _sigint, _bell
             _reports, _rights                     errors that nobody is given; locks given back
             _openness                             whether a listener answers here
             codecs > _parcels > _buffers > _life  what is large; memory that two processes share
             _handover > _door                     how the memory below comes to those who read it
             _memory, _slots                       shared memory, and the values in it
    words    errors, _members                      what can go wrong, what is exposed
             _options                              what users say of their classes
             _batching > _marks                    and of single members of them
             _spec > _stdlib > _survey             from a class to its spec
             _shared                               what has a generated type
             _deadline, _descriptors               what every call and every room minds
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
