"""An object in a process of its own, which does nothing else than answer for it."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, final, overload

from .._proxies._proxy import link_of
from .._system import _deadline, _life
from ..codecs import pickle as codec
from ..errors import ListenerClosed, OwnerDied
from ._listener import Listener

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    from .._proxies._shared import Shared
    from .._system._descriptors import Descriptor

T = TypeVar("T")
P = ParamSpec("P")

#: Seconds that a host in the middle of a call has, when its creator has ended or is dead.
_AT_EXIT: Final = 0.5
_STOP: Final = b"stop"

_context: ContextVar[BaseContext | None] = ContextVar("pipeproxy_context", default=None)


class spawning:  # noqa: N801 - reads as the verb that it is: ``with spawning(context):``
    """Let `spawn` use this multiprocessing context inside the block.

    Args:
        context: as `multiprocessing.get_context` returns it; it holds in this thread or task only.
    """

    __slots__ = ("_given", "_tokens")

    def __init__(self, context: BaseContext, /) -> None:
        self._given = context
        self._tokens: list[Token[BaseContext | None]] = []

    def __enter__(self) -> None:
        self._tokens.append(_context.set(self._given))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _context.reset(self._tokens.pop())


@final
class Host:
    """The process that `spawn` made. It ends when it is closed or when its creator is dead.

    Attributes:
        process: the process, of `multiprocessing`.
    """

    def __init__(
        self, process: BaseProcess, control: Connection, name: str, listener: bytes
    ) -> None:
        self.process = process
        #: Of two threads that join it at once, one would not learn how it ended.
        self._joining = threading.RLock()
        self._control = control
        self._name = name
        from multiprocessing.util import Finalize

        self._listener = listener
        self._creator = os.getpid()
        _life.obituaries[listener] = self._obituary
        # Before multiprocessing waits, at the end of the program, for all that still run.
        self._at_exit = Finalize(self, _end, args=(process, control, _AT_EXIT), exitpriority=10)

    def __repr__(self) -> str:
        state = "running" if self.process.is_alive() else "ended"
        return f"<Host of {self._name} in process {self.process.pid}: {state}>"

    def close(self) -> None:
        """End the process once the call in its hand is finished, and wait for that.

        Later calls raise `OwnerDied`. A second time does nothing, nor does it in a forked child of
        the creator. To end it at once, whatever it does, use ``host.process.kill()`` first.
        """
        if os.getpid() != self._creator:
            return
        with self._joining:
            _end(self.process, self._control, None)
        self._at_exit.cancel()
        text = self._obituary()
        _life.obituaries[self._listener] = lambda: text  # and keep the process no longer

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _obituary(self) -> str:
        with self._joining:
            self.process.join(_AT_EXIT)
        return f"process {self.process.pid}, which held {self._name}, {_end_of(self.process)}"


@overload
def spawn(cls: Callable[P, Shared[T]], /, *args: P.args, **kwargs: P.kwargs) -> tuple[T, Host]: ...


@overload
def spawn(cls: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> tuple[T, Host]: ...


def spawn(cls: Callable[..., Any], /, *args: Any, **kwargs: Any) -> tuple[Any, Host]:
    """Make an object in a new process, and return its proxy and the host that holds it.

    The process is started by the context of `spawning`, else by multiprocessing's default.

    Args:
        cls: a class, or any callable that returns the object; importable, unless it is forked.
        args, kwargs: what it is called with, there.

    Raises:
        OwnerDied: the process ended before the object was made; the text says how.
        RuntimeError: this process is daemonic, so it may not start others.
        CallTimeout: the deadline of `timeout` passed; the process was killed.
        BaseException: whatever `cls` raised there.
    """
    import multiprocessing  # here, as a client that spawns nothing need not pay for it

    if multiprocessing.current_process().daemon:
        raise RuntimeError(
            "spawn() starts a process, which a daemonic process (as a worker of "
            "multiprocessing.Pool is) may not do: use concurrent.futures.ProcessPoolExecutor for "
            "the workers, or spawn the object before them and pass its proxy"
        )
    context: Any = _context.get() or multiprocessing.get_context()
    name = getattr(cls, "__qualname__", repr(cls))
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_host, args=(theirs, os.getpid(), cls, args, kwargs), name=f"host of {name}"
    )
    process.start()
    theirs.close()
    try:
        proxy = _first_word(process, ours, name)
    except BaseException:
        process.kill()
        process.join()
        ours.close()
        raise
    return proxy, Host(process, ours, name, link_of(proxy).route.listener)


def _first_word(process: BaseProcess, control: Connection, name: str) -> Any:
    """Return the proxy that a new host sends, or raise what happened instead."""
    from multiprocessing.connection import wait

    ready = wait([control, process.sentinel], _deadline.left(_deadline.current()))
    if not ready:
        raise _deadline.passed()
    try:
        made, content = pickle.loads(control.recv_bytes()) if control.poll() else (None, b"")
    except (EOFError, ConnectionError):
        made = None
    if made is None:
        process.join()
        raise OwnerDied(
            f"process {process.pid} {_end_of(process)} while it made the {name} it was to hold"
        )
    if made:
        return pickle.loads(content)
    process.join()
    failure = codec.decode_failure(content)
    try:
        raise failure
    finally:
        del failure


def _host(
    control: Connection, creator: int, cls: Callable[..., Any], args: Any, kwargs: Any
) -> None:
    """Be the process: make the object, send its proxy, serve it."""
    # Ctrl-C goes to all processes of a terminal; this one ends when its creator does. It is not
    # ignored, as programs that the object starts would inherit that.
    signal.signal(signal.SIGINT, _nothing)
    try:
        life = _life.watch(creator)
    except ProcessLookupError:
        return
    ended = threading.Event()
    with Listener[Any]() as listener:
        # A thread, as the object may hang, in its constructor or in a call, when the creator dies.
        watch = (control, life, listener, ended)
        threading.Thread(target=_heed, args=watch, name="pipeproxy", daemon=True).start()
        try:
            try:
                proxy = listener.share(cls(*args, **kwargs))
            except BaseException as error:
                where = getattr(cls, "__qualname__", repr(cls))
                control.send_bytes(pickle.dumps((False, codec.encode_failure(error, where, None))))
                return
            control.send_bytes(pickle.dumps((True, pickle.dumps(proxy))))
            listener.serve()
        except (ListenerClosed, ConnectionError):
            pass  # the creator died before there was anything to serve
        finally:
            ended.set()


def _nothing(number: int, frame: object) -> None:
    """Handle a signal by going on."""


def _heed(
    control: Connection, life: Descriptor | None, listener: Listener[Any], ended: threading.Event
) -> None:
    """Close a host's listener when its creator says so, or is dead."""
    from multiprocessing.connection import wait

    wait([control] if life is None else [control, life.fileno()])
    try:
        told = control.poll() and control.recv_bytes() == _STOP
    except (EOFError, ConnectionError):
        told = False
    if told:
        listener.close()
    else:
        listener._close(0)
        if not ended.wait(_AT_EXIT):
            os._exit(1)  # nobody is left who could end the call in hand


def _end(process: BaseProcess, control: Connection, patience: float | None) -> None:
    """Tell a host to end and wait for it; kill it if it takes longer than `patience` seconds."""
    if not control.closed:
        try:
            control.send_bytes(_STOP)
        except OSError:
            pass  # it has ended already
        control.close()
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()


def _end_of(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None:
        return "is gone"
    if code < 0:
        known = -code in set(signal.Signals)
        return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"exited with code {code}"
