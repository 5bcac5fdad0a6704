"""Batched methods: what is called by many, one value each, and runs once for all of their values.

The method is written for a list. What stands in the class in its place takes one value, as its
callers see it, and runs the method as a batch of one; an owner that has more calls at hand finds
the method itself in a `Batching`, and gives it all of their values.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from inspect import Parameter, Signature
from operator import or_
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin, overload

from .._system._deadline import LONGEST
from ..errors import SpecError
from ._marks import mark, marks_of, unmarked

S = TypeVar("S")
A = TypeVar("A")
R = TypeVar("R")

#: Under this name what stands in the place of a batched method keeps its `Batching`.
_KEY: Final = "_pipeproxy_batching"


class Batching(NamedTuple):
    """How the calls of one method are batched.

    Attributes:
        method: takes the object and a list of values, and returns the list of their results.
        most: values that one batch may have.
        within: seconds after the first of them in which more may come.
        signature: of what stands in its place.
    """

    method: Callable[[Any, list[Any]], Any]
    most: int
    within: float
    signature: Signature

    def value(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Return the one value that a call has.

        Raises:
            TypeError: it has none, or others.
        """
        if len(args) == 1 and not kwargs:
            return args[0]
        return self.signature.bind(None, *args, **(kwargs or {})).args[1]

    def outcomes(self, results: Any, count: int) -> list[Any]:
        """Return the results of a batch, an exception for each call that is to raise one.

        Raises:
            TypeError, RuntimeError: these are no results for so many calls.
        """
        where = f"{self.method.__qualname__} is batched, was called with {count} values and"
        if not isinstance(results, list):
            kind = type(results).__name__
            raise TypeError(f"{where} has to return a list of {count} results: it returned {kind}")
        if len(results) != count:
            raise RuntimeError(
                f"{where} has to return one result for each: it returned {len(results)}"
            )
        return results

    def only(self, results: Any) -> Any:
        """Return the result of a batch of one.

        Raises:
            BaseException: it, if it is one.
        """
        (result,) = self.outcomes(results, 1)
        if isinstance(result, BaseException):
            raise result
        return result


# An exception among the results is raised, and no result: the overloads for a list that may have
# some come first.
@overload
def batched(
    method: Callable[[S, list[A]], Coroutine[Any, Any, list[R | Exception]]], /
) -> Callable[[S, A], Coroutine[Any, Any, R]]: ...


@overload
def batched(
    method: Callable[[S, list[A]], Coroutine[Any, Any, list[R]]], /
) -> Callable[[S, A], Coroutine[Any, Any, R]]: ...


@overload
def batched(method: Callable[[S, list[A]], list[R | Exception]], /) -> Callable[[S, A], R]: ...


@overload
def batched(method: Callable[[S, list[A]], list[R]], /) -> Callable[[S, A], R]: ...


@overload
def batched(*, max: int = 32, within: float = 0.002) -> _Batched: ...


def batched(*methods: Any, max: int = 32, within: float = 0.002) -> Any:  # noqa: A002
    """Let concurrent calls of a method, by many processes, reach it as one list.

    The method takes one argument besides self. It is given a list of what its callers passed, and
    returns a list of as many results in the same order. An exception among them (the list is then
    annotated as of ``R | Exception``) is raised in the caller that it belongs to, and one that the
    method raises in all of them. Callers, also those
    that have the object itself, pass one value and get one result.

    A batch runs, as any call does, in the thread that serves and while nobody is in the object's
    section. Calls that had to wait for that, or are made inside of `locked`, run one by one. Other
    calls keep their order with the batched ones of the same thread. An async method needs
    ``dispatch="asyncio"``.

    Args:
        methods: the method, where it does not stand below as decorated.
        max: calls that one batch may have.
        within: seconds that the first of them waits for others, unless nobody else can come.

    Raises:
        SpecError: it is no function of one argument besides self, or the options are no numbers.
    """
    if type(max) is not int or max < 1:
        raise SpecError(f"max is a number of calls, at least 1, not {max!r}")
    seconds: Any = within
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= LONGEST:
        raise SpecError(f"within is a number of seconds up to {LONGEST:.0f}, not {within!r}")
    options = functools.partial(_batched, most=max, within=within)
    return options(*methods) if methods else options


class _Batched:
    """What ``batched(...)`` returns, for type checkers: the decorator itself."""

    @overload
    def __call__(
        self, method: Callable[[S, list[A]], Coroutine[Any, Any, list[R | Exception]]], /
    ) -> Callable[[S, A], Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, method: Callable[[S, list[A]], Coroutine[Any, Any, list[R]]], /
    ) -> Callable[[S, A], Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(
        self, method: Callable[[S, list[A]], list[R | Exception]], /
    ) -> Callable[[S, A], R]: ...

    @overload
    def __call__(self, method: Callable[[S, list[A]], list[R]], /) -> Callable[[S, A], R]: ...

    def __call__(self, method: Any, /) -> Any:
        raise NotImplementedError


def batching_of(member: object) -> Batching | None:
    """Return how calls of a member of ``vars(cls)`` are batched, None if they are not."""
    member = unmarked(member)
    return vars(member).get(_KEY) if type(member) is FunctionType else None


def _batched(member: Any, *, most: int, within: float) -> Any:
    method = unmarked(member)
    if type(method) is not FunctionType:
        raise SpecError(f"@batched stands over methods, and {method!r} is none")
    single = _single(method, most, within)
    return functools.reduce(mark, marks_of(member), mark(single, "batched"))


def _single(method: FunctionType, most: int, within: float) -> Callable[..., Any]:
    """Return what stands in the place of a method."""
    signature = _signature_of_one(method)
    batching = Batching(method, most, within, signature)
    single: Any
    if inspect.iscoroutinefunction(method):

        async def single(self: Any, *args: Any, **kwargs: Any) -> Any:
            return batching.only(await method(self, [batching.value(args, kwargs)]))

    else:

        def single(self: Any, *args: Any, **kwargs: Any) -> Any:
            return batching.only(method(self, [batching.value(args, kwargs)]))

    functools.update_wrapper(single, method)
    single.__signature__ = signature
    single.__annotations__ = {
        **{
            p.name: p.annotation
            for p in signature.parameters.values()
            if p.annotation is not p.empty
        },
        **({"return": signature.return_annotation} if "return" in method.__annotations__ else {}),
    }
    vars(single)[_KEY] = batching
    return single  # type: ignore[no-any-return]


def _signature_of_one(method: FunctionType) -> Signature:
    """Return the signature of a batched method as its callers see it.

    Raises:
        SpecError: it does not take exactly one argument besides self.
    """
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    plain = all(p.kind <= Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
    if len(parameters) != 2 or not plain or parameters[1].default is not Parameter.empty:
        raise SpecError(
            f"{method.__qualname__} is batched, so it takes exactly one argument besides self, "
            f"without a default: the list of what its callers pass"
        )
    me, values = parameters
    return signature.replace(
        parameters=[me, values.replace(annotation=_item_of(values.annotation))],
        return_annotation=_result_of(_item_of(signature.return_annotation)),
    )


def _item_of(annotation: Any) -> Any:
    """Return what an annotation says of the items of a list, or that it says nothing of them."""
    if isinstance(annotation, str):
        head, bracket, rest = annotation.strip().partition("[")
        if bracket and rest.endswith("]") and head.rpartition(".")[2] in ("list", "List"):
            return rest[:-1]
        return Parameter.empty
    return get_args(annotation)[0] if get_origin(annotation) is list else Parameter.empty


def _result_of(annotation: Any) -> Any:
    """Return what an annotation says of a result, without the exceptions in its place."""
    if isinstance(annotation, str):
        return annotation.removesuffix(" | Exception")
    rest = tuple(part for part in get_args(annotation) if part is not Exception)
    is_union = rest and Exception in get_args(annotation)
    return functools.reduce(or_, rest) if is_union else annotation
