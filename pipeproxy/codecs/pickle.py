"""The default codec: pickle, made to carry references and exceptions, and to name its culprits.

Pickle runs code: whoever can send to a process through this codec can run anything in it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pickle import dumps, loads
from typing import Any, TypeVar

from .._channels._parcels import BULK_FROM, Encoded, Parcel
from ..errors import CodecError
from ._exceptions import CAREFULLY, Reduced, Refer, write, write_apart
from ._exceptions import encode as encode_failure
from ._exceptions import encode_apart as encode_failure_apart
from ._reasons import refused, worded
from ._rebuild import decode as decode_failure

__all__ = [
    "ATOMS",
    "SMALL",
    "Refer",
    "atom",
    "decode",
    "decode_call",
    "decode_failure",
    "encode",
    "encode_atoms",
    "encode_call",
    "encode_failure",
    "encode_failure_apart",
    "encode_result",
    "explain_call",
    "explain_result",
    "is_small",
    "loads",
]

#: What a value is written as.
W = TypeVar("W", bytes, "bytes | Parcel")

#: Immutable builtin types whose instances need no pickler of ours; exact types only.
ATOMS: frozenset[type] = frozenset(
    map(type, (None, True, 0, 0.0, 0j, "", b"", ..., NotImplemented, range(0)))
)
#: Types whose exact instances pickle writes without asking a `reducer_override`.
_CONTAINERS = frozenset({list, dict, set, frozenset, tuple, bytearray})

#: A culprit is looked for so deep, and among so many items on each level.
_MAX_DEPTH, _MAX_ITEMS = 12, 10_000

#: Of these, one may be so large that it has to travel beside the pipe; of the others, none.
_BLOBS = frozenset({bytes, str})
SMALL = ATOMS - _BLOBS

_all_atoms = ATOMS.issuperset
_all_small_atoms = SMALL.issuperset

#: ``atom(value)``: the bytes of a value whose exact type is one of `ATOMS`.
atom: Callable[[object], bytes] = partial(dumps, protocol=5)


def encode(value: object, refer: Refer | None = None) -> bytes:
    """One value as bytes.

    Args:
        value: anything; exceptions in it are carried as `encode_failure` would.
        refer: asked about `value`, and about whatever in it is not an exact builtin container. It
            may be asked twice about one object, and its answer may be thrown away.

    Raises:
        CodecError: it cannot be pickled; ``__cause__`` says why. See `explain_result`.
        BaseException: what a signal handler raised meanwhile.
    """
    if type(value) in ATOMS:
        return atom(value)
    try:
        return write(_asked(value, refer), refer)
    except Exception as error:
        return _write_again(write, error, "a value", value, partial(_asked, value, refer), refer)


def encode_result(value: object, refer: Refer | None = None) -> bytes | Parcel:
    """As `encode`, but what is large is a parcel."""
    if is_small(value):
        return atom(value)
    try:
        return write_apart(_asked(value, refer), refer)
    except Exception as error:
        ask = partial(_asked, value, refer)
        return _write_again(write_apart, error, "a value", value, ask, refer)


def encode_atoms(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bytes | None:
    """The arguments of a call as `encode_call` writes them, if nobody need be asked about any.

    None if some are not atoms, or large.
    """
    if _all_small_atoms(map(type, args)) or (
        _all_atoms(map(type, args)) and not any(map(_is_bulk, args))
    ):
        if not kwargs:
            return atom(args)
        if _all_atoms(map(type, kwargs.values())) and not any(map(_is_bulk, kwargs.values())):
            return atom([args, kwargs])
    return None


def is_small(value: object) -> bool:
    """Whether nobody need be asked how a value travels, and it goes through the pipe."""
    return type(value) in ATOMS and not _is_bulk(value)


def _is_bulk(value: Any) -> bool:
    return type(value) in _BLOBS and len(value) >= BULK_FROM


def encode_call(
    args: tuple[Any, ...], kwargs: dict[str, Any] | None, refer: Refer | None = None
) -> bytes | Parcel:
    """The arguments of a call as bytes: a tuple alone, or a list of tuple and dict.

    What is large is a parcel.

    Raises:
        CodecError: something in them cannot be pickled. See `explain_call`.
    """
    atoms = encode_atoms(args, kwargs)
    if atoms is not None:
        return atoms
    try:
        return write_apart(_all_asked(args, kwargs, refer), refer)
    except Exception as error:
        ask = partial(_all_asked, args, kwargs, refer)
        return _write_again(write_apart, error, "the arguments", args, ask, refer)


def _asked(value: Any, refer: Refer | None) -> Any:
    """Return what is to be pickled in the place of a value, if pickle itself would not ask."""
    if refer is None or type(value) not in _CONTAINERS:
        return value
    reduced = refer(value)
    return value if reduced is NotImplemented else Reduced(reduced)


def _all_asked(args: tuple[Any, ...], kwargs: dict[str, Any] | None, refer: Refer | None) -> Any:
    args = tuple([_asked(value, refer) for value in args])
    if kwargs:
        return [args, {name: _asked(value, refer) for name, value in kwargs.items()}]
    return args


def _write_again(  # noqa: PLR0913, PLR0917 - all that was tried
    write: Callable[..., W],
    failed: Exception,
    what: str,
    value: object,
    ask: Callable[[], Any],
    refer: Refer | None,
) -> W:
    """Try once more what has failed, then carefully, and return what that gives.

    Raises:
        CodecError: it fails again.
        Exception: `failed`, if it does not: that was raised by a signal handler, most likely.
    """
    try:
        write(ask(), refer)
    except Exception:
        try:
            return write(ask(), refer, CAREFULLY)
        except Exception as error:
            raise refused(what, value, error) from error
    raise failed


def decode(payload: Encoded, where: str = "a value") -> Any:
    """The value that `encode` was given, or this process's equal of it.

    Args:
        where: what it is, for people: ``the result of Account.find``.

    Raises:
        CodecError: it cannot be rebuilt in this process; the text names what is missing.
    """
    try:
        return _loads(payload) if type(payload) is Parcel else loads(payload)
    except Exception as error:
        del payload  # a traceback that is kept must not keep the buffer from being resized
        raise CodecError(f"{where} cannot be rebuilt here: {worded(error)}") from error


def decode_call(payload: Encoded, where: str = "a call") -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that `encode_call` was given, without keywords as an empty dict.

    Raises:
        CodecError: as `decode`; also where the bytes hold something else than a call.
    """
    try:
        value = _loads(payload) if type(payload) is Parcel else loads(payload)
        if type(value) is tuple:
            return value, {}
        if type(value) is list and tuple(map(type, value)) == (tuple, dict):
            return value[0], value[1]
        raise TypeError(f"they are not arguments but of type {type(value).__name__}")
    except Exception as error:
        del payload
        text = f"the arguments of {where} cannot be rebuilt here: {worded(error)}"
        raise CodecError(text) from error


def _loads(parcel: Parcel) -> Any:
    return loads(parcel.pickle, buffers=parcel.buffers)


# Explaining: after a failure, at leisure --------------------------------------------------------


def explain_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
    refer: Refer | None,
    where: str,
    parameters: Sequence[str],
) -> CodecError:
    """The error that says which argument made `encode_call` fail, and where in it the cause lies.

    Args:
        where: the method: ``Account.deposit``.
        parameters: names of its positional parameters, without self; may be fewer than `args`.
    """
    named = [(repr(n), v) for n, v in zip(parameters, args, strict=False)]
    named += [(f"number {i + 1}", args[i]) for i in range(len(named), len(args))]
    named += [(repr(n), v) for n, v in (kwargs or {}).items()]
    for name, value in named:
        error = _failure(value, refer)
        if error is not None:
            return _explained(f"argument {name}", value, error, where, refer)
    together = _failure((args, kwargs), refer) or TypeError("each of them can be sent alone")
    return _explained("the arguments", None, together, where, refer)


def explain_result(
    value: object, error: BaseException, where: str, refer: Refer | None = None
) -> CodecError:
    """The error that says what in a method's result made `encode` fail.

    Args:
        error: what `encode` raised.
        where: the method: ``Account.find``.
    """
    cause = error.__cause__ if isinstance(error, CodecError) else error
    return _explained("the result", value, cause or error, where, refer)


def _explained(
    subject: str, value: object, error: BaseException, where: str, refer: Refer | None
) -> CodecError:
    path = ""
    if not isinstance(error, (RecursionError, MemoryError, CodecError)):  # no one part's fault
        path, value, error = _culprit(value, error, refer)
    explained = refused(f"{subject}{path} of {where}", value, error)
    explained.__cause__ = error
    return explained


def _culprit(
    value: object, error: BaseException, refer: Refer | None
) -> tuple[str, object, BaseException]:
    """Path, object and error of the deepest part of `value` that fails by itself."""
    path = ""
    for _ in range(_MAX_DEPTH):
        try:
            for step, part in _parts(value):
                failed = _failure(part, refer)
                if failed is not None:
                    path, value, error = path + step, part, failed
                    break
            else:
                break
        except Exception:
            break  # it changes while it is looked at, or it does not like to be looked at
    return path, value, error


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """What pickle would write of `value`, each with the Python that leads to it."""
    if isinstance(value, (type, types.FunctionType, types.MethodType, types.ModuleType)):
        return
    if isinstance(value, (list, tuple)):
        yield from _limited((f"[{i}]", item) for i, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from _limited((f" item {_short(item)}", item) for item in value)
    elif isinstance(value, dict):
        yield from _limited((f"[{_short(key)}]", item) for key, item in value.items())
        yield from _limited((f" key {_short(key)}", key) for key in value)
    if type(value) in _CONTAINERS:
        return
    state = value.__reduce_ex__(5)[2]
    for part in state if type(state) is tuple else (state,):
        if type(part) is dict:
            yield from _limited((f".{name}", item) for name, item in part.items())


def _limited(parts: Iterator[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    for (step, part), _ in zip(parts, range(_MAX_ITEMS), strict=False):
        if type(part) not in ATOMS:
            yield step, part


def _failure(value: object, refer: Refer | None) -> BaseException | None:
    try:
        encode(value, refer)
    except CodecError as error:
        return error.__cause__ or error
    return None


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."
