"""The verbs: calls in ways that a plain call cannot say.

A verb takes a method as the proxy gives it, and so its types. It calls the same generated method
with a second proxy, whose link only tells what is to be called: the arguments are bound as ever,
and what would be called and waited for is only begun.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from .._specs._members import RUN
from ._gathering import begin_batch, end_batch
from ._proxy import link_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def begin(
    verb: str, method: Any, promise: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Begin a call of a proxy's method.

    Args:
        verb: for people.
        promise: is told what comes of it; None if nobody is to be.

    Raises:
        TypeError: it is no method of a proxy, or these are not its arguments.
    """
    try:
        proxy, function = method.__self__, method.__func__
        kind = type(proxy)
        is_its = function in kind._pipeproxy_functions
    except AttributeError:
        is_its = False
    if not is_its:
        raise TypeError(
            f"{verb} takes a method of a proxy, and then its arguments, as in "
            f"{verb}(proxy.method{')(' if verb == 'aio' else ', '}argument), not {method!r}"
        )
    member, given, named = function(kind._pipeproxy_teller, *args, **kwargs)
    proxy._pipeproxy_link.start(member, given, named, promise)


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
    begin("notify", method, None, args, kwargs)


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

    __slots__ = ("__weakref__",)

    def __enter__(self) -> None:
        begin_batch(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end_batch(self)
