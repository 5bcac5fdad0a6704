"""The verbs: calls in ways that a plain call cannot say.

A verb takes a method as the proxy gives it, and so its types. It puts a link of its own kind under
a second proxy and calls the same generated method with that: the arguments are bound as ever, and
what would be called and waited for is only begun.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from ._flight import begin_batch, end_batch
from ._members import RUN
from ._proxy import Proxy, bind, link_of

if TYPE_CHECKING:
    from concurrent.futures import Future

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class _Beginning:
    """A link that begins calls, for one promise, and waits for none."""

    __slots__ = ("_link", "_promise")

    def __init__(self, link: Any, promise: Any) -> None:
        self._link = link
        self._promise = promise

    def call(self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        self._link.start(member, args, kwargs, self._promise)

    def start(
        self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None, promise: Any
    ) -> None:
        """As `call`, of a method that is one-way: a verb may want to know of it all the same."""
        self._link.start(member, args, kwargs, self._promise)


def _begin(verb: str, method: Any, promise: Any, args: Any, kwargs: Any) -> None:
    """Call a method of a proxy, for a promise.

    Raises:
        TypeError: it is none.
    """
    proxy, function = getattr(method, "__self__", None), getattr(method, "__func__", _no_method)
    kind: Any = type(proxy)
    if not issubclass(kind, Proxy) or vars(kind).get(function.__name__) is not function:
        raise TypeError(
            f"{verb} takes a method of a proxy, and then its arguments, as in "
            f"{verb}(proxy.method{')(' if verb == 'aio' else ', '}argument), not {method!r}"
        )
    beginning: Any = _Beginning(link_of(proxy), promise)
    function(bind(kind, beginning), *args, **kwargs)


def _no_method() -> None:
    """Stand for the function of what is no method."""


@overload
def submit(
    method: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
) -> Future[R]: ...


@overload
def submit(method: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...


def submit(method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    """Begin a call and return its future, a `concurrent.futures.Future`.

    Calls of one thread are begun in their order, whatever verbs it uses. At most 1,024 of one
    thread and owner are under way; one more waits until some are answered. Callbacks of futures run
    in a thread that receives the answers of all, so they must be short.

    In the owner's own process the call is made at once, in this thread; where calls may wait
    (``dispatch="threads"``, `blocking`) in a thread of its own.

    Args:
        method: of a proxy.
        args, kwargs: its arguments.

    Raises:
        TypeError: it is no method of a proxy, or these are not its arguments.
        CodecError: an argument cannot travel.
        CallTimeout: the deadline of `timeout` passed before there was room for one more. (If it
            passes later, that is what the future raises.)
        OwnerDied, ListenerClosed, CallLost: nobody will answer.
    """
    from . import _futures  # as only who submits needs it

    future: _futures.Future[Any] = _futures.Future()
    _begin("submit", method, future, args, kwargs)
    return future


@overload
def aio(method: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def aio(method: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


def aio(method: Callable[..., Any], /) -> Callable[..., Any]:
    """Return a method of a proxy as an async function, to be called and awaited.

    It takes no thread for each call. The call begins when it is awaited, or made a task of; calls
    of one thread begin in their order. If the task is cancelled the call is given up, see
    `pipeproxy.cancelled`, and everything else goes on. In the owner's own process the method is
    called in the task.

    Args:
        method: of a proxy; it may be async itself.

    Raises:
        TypeError: when it is awaited: it is no method of a proxy, or got other arguments.
        BaseException: when it is awaited: as of a plain call.
    """

    async def call(*args: Any, **kwargs: Any) -> Any:
        from asyncio import get_running_loop  # as only who awaits needs it

        from ._awaited import Awaited

        promise: Awaited[Any] = Awaited(get_running_loop())
        _begin("aio", method, promise, args, kwargs)
        value = await promise.outcome()
        # Only from an object of this very process can one come.
        return await value if type(value) is CoroutineType else value

    return call


def notify(method: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
    """Begin a call of which nothing comes back: neither its result nor what it raises.

    It keeps its order with the other calls of this thread. What it raises is reported in the owner,
    by `sys.unraisablehook`. It is sent when this returns, or at least when the process ends.

    Raises:
        TypeError: it is no method of a proxy, or these are not its arguments.
        CodecError: an argument cannot travel.
        CallTimeout: the deadline of `timeout` passed before there was room for one more.
        OwnerDied, ListenerClosed, CallLost: nobody is there to hear it.
    """
    _begin("notify", method, None, args, kwargs)


def run(proxy: T, func: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``func(obj, *args, **kwargs)`` in the owner, with the real object, as one call of it.

    So several steps take one round trip, and nobody comes between.

    Args:
        proxy: of the object.
        func: a function that the owner can import: of a module's top level.
        args, kwargs: what it is called with besides.

    Returns:
        What it returns, as of a method.

    Raises:
        TypeError: it is no proxy.
        CodecError: the function or an argument cannot travel.
        BaseException: whatever it raised.
    """
    return link_of(proxy).call(RUN, (func, *args), kwargs or None)  # type: ignore[no-any-return]


class batch:  # noqa: N801 - reads as the verb that it is: ``with batch():``
    """Let what is submitted and notified inside a block travel together, as one frame.

    It is sent at the end of the block; before a plain call or an awaited one inside of it; when a
    future is asked for its result; when there is much of it; and after a second in any case. It
    holds for this thread. Blocks nest, and only the outermost counts.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        begin_batch()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end_batch()
