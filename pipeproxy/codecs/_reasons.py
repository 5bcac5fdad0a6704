"""Why a value cannot travel, in words for people, and what they can do instead."""

from __future__ import annotations

import types
from pickle import PicklingError

from ..errors import CodecError
from ._rebuild import safe_str


def refused(subject: str, value: object, error: BaseException) -> CodecError:
    """The error that says why `value` cannot be sent.

    Args:
        subject: what it is, for people: ``argument 'amount' of Account.deposit``.
        error: what pickling it raised.
    """
    return CodecError(f"{subject} cannot be sent: {_reason(value, error)}")


def _reason(value: object, error: BaseException) -> str:
    """Why `value` cannot be sent, and what to do instead."""
    if issubclass(type(value), types.GeneratorType):
        return "a generator runs where it was made; pass by_ref(...) of it, or a list of its items"
    if issubclass(type(value), types.AsyncGeneratorType):
        return "an async generator runs where it was made; pass a list of its items"
    if issubclass(type(value), types.CoroutineType):
        return "a coroutine runs where it was made; await it there and pass what it returns"
    if isinstance(error, RecursionError):
        return "it is nested too deeply for pickle; pass it in smaller or flatter pieces"
    if issubclass(type(value), types.FunctionType):
        return (
            f"{worded(error)}; pass by_ref(...) of the function to have it called where it was "
            f"made, or define it at the top level of a module"
        )
    return (
        f"{worded(error)}; to leave it where it is, pass by_ref(...) of it, or say @by_reference "
        f"of the method that returns it; or pass plain data"
    )


def worded(error: BaseException) -> str:
    """What an error says, with its class unless that goes without saying."""
    text = safe_str(error)
    if isinstance(error, (TypeError, AttributeError, ImportError, PicklingError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
