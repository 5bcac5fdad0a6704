"""Requests: what is asked of an object, how that travels, and what an answer says to it."""

from __future__ import annotations

from typing import Any, Final

from .._channels._parcels import Encoded
from .._channels._wire import RESULT, UP_RESULT
from .._specs._members import Plain, name_of, parameters_of
from ..codecs import pickle as codec
from ..errors import CodecError
from ._pool import Key

#: The number of the object, the members of its class, that of the one which is called, and the
#: arguments. A plain tuple, as every call makes one.
Request = tuple[int, Plain, int, tuple[Any, ...], "dict[str, Any] | None"]

_RESULTS: Final = frozenset({RESULT, UP_RESULT})


def name(request: Request) -> str:
    """Return what is called, for people."""
    _, plain, member, args, _ = request
    return name_of(plain, member, args)


def key(request: Request) -> Key:
    """Return what is called, for the memory that goes with it."""
    _, plain, member, _, _ = request
    return plain[0], plain[1], member


def encode(request: Request, outgoing: Any) -> Encoded:
    """Return the arguments as they travel.

    Args:
        outgoing: is asked about their parts.

    Raises:
        CodecError: one of them cannot travel; the text says which, and why.
    """
    _, plain, member, args, kwargs = request
    try:
        return codec.encode_call(args, kwargs, outgoing.refer)
    except CodecError as error:
        parameters = parameters_of(plain, member)
        culprit = codec.explain_call(args, kwargs, outgoing.refer, name(request), parameters)
        raise culprit from culprit.__cause__ or error


def decode(request: Request, kind: int, answer: Encoded) -> Any:
    """Return the result, or the exception, that an answer holds.

    Raises:
        CodecError: it cannot be rebuilt here.
    """
    if kind not in _RESULTS:
        return codec.decode_failure(answer)
    try:
        return codec.decode(answer)
    except CodecError:
        return codec.decode(answer, f"the result of {name(request)}")
