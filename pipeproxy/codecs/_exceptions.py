"""An exception as data: it arrives as itself, or at least says what it was.

Exceptions are the one kind of value that pickle loses by default: it calls ``__init__`` again with
``args``, which fails for every class whose parameters are others; and one unpicklable attribute, or
a class that the receiver does not have, loses the whole message. So they are taken apart here.

A failure is a pickled list of *nodes*, each exception after those that it names as its cause or
context, the one that was raised last (links point backwards only, so no cycle can arrive)::

    node  = (names, message, text, notes, forms, cause, context, suppress)
    names = ((module, qualname), ...)  the class, then its bases up to the first builtin one
    text  = its traceback in the owner, or None if it was not raised there
    forms = ((bytes, buffers), ...)    pickles of it, best first, each with what it takes beside it
                                       and opened by itself, so that one that cannot be opened
                                       spoils nothing else
    cause, context                     indices of nodes, -1 for none

An exception that is part of an ordinary value is a plain reduce tuple in that value's pickle, or
such a list where it has links or where something in it refuses to be pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pickle import PickleBuffer, Pickler, dumps
from typing import Any, Final, NamedTuple, cast

from .._channels._parcels import BULK_FROM, Parcel
from ..errors import RemoteError
from ._contents import contents_of, made_of, names_of, own_reduce, pickles_itself, reduce_exception
from ._rebuild import Form, decode, fill, make, own_notes, safe_str, type_name
from ._tracebacks import traceback_of
from ._views import Viewed, open_viewed, reduce_view, viewable

#: Answers a reduce tuple for what travels as a reference, else NotImplemented.
Refer = Callable[[object], Any]

#: Exceptions in one chain, and exceptions held by exceptions that must be written with care:
#: what exceeds them is cut, so that no failure takes for ever to describe.
MAX_CHAIN, MAX_NESTED = 64, 8


class Reduced:
    """Stands in a pickle for an object whose reduce tuple is known already."""

    __slots__ = ("reduced",)

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class _Task(NamedTuple):
    """What a pickler knows that is at work on a part of an exception, or warned of one."""

    careful: bool  # nothing in an exception met on the way may spoil the rest
    active: frozenset[int] = frozenset()  # ids of the exceptions that this is a part of
    plain: int = 0  # the id of the one that this pickle is about


class ValuePickler(Pickler):
    """A pickler that knows references, exceptions and views; its maker sets its attributes.

    Attributes:
        refer: see there.
        task: see there.
        viewed: gets the buffers of what is to arrive as a view.
    """

    __slots__ = ("refer", "task", "viewed")
    refer: Refer | None
    task: _Task | None
    viewed: list[PickleBuffer]

    def reducer_override(self, obj: Any) -> Any:
        refer = self.refer
        if refer is not None and (reduced := refer(obj)) is not NotImplemented:
            return reduced
        if issubclass(type(obj), BaseException):
            return self._reduce_exception(obj)
        if type(obj) is Viewed:
            pickle, buffers = write_beside(viewable(obj.value), refer, self.task)
            self.viewed += buffers
            return open_viewed, (pickle, buffers)
        return reduce_view(obj)

    def _reduce_exception(self, exc: BaseException) -> tuple[Any, ...]:
        careful, active, plain = self.task or _Task(careful=False)
        if id(exc) == plain:
            return reduce_exception(exc)
        if id(exc) in active or len(active) >= MAX_NESTED:
            return RemoteError, (type_name(names_of(type(exc))), safe_str(exc))
        if careful or pickles_itself(type(exc)) or _is_linked(exc):
            return decode, (encode(exc, None, self.refer, active),)
        return reduce_exception(exc)


#: For a value in which an exception may be what fails to be written; it costs more.
CAREFULLY: Final = _Task(careful=True)


def write(value: object, refer: Refer | None, task: _Task | None = None) -> bytes:
    """The pickle of `value`.

    Raises:
        Exception: whatever pickling it raises.
    """
    return _write(value, refer, task, None)


def write_beside(value: object, refer: Refer | None, task: _Task | None) -> Form:
    """As `write`, but all buffers are beside the pickle."""
    buffers: list[PickleBuffer] = []

    def keep(buffer: PickleBuffer) -> bool:
        if _raw(buffer) is None:
            return True
        buffers.append(buffer)
        return False

    return _write(value, refer, task, keep), buffers


def _write(value: object, refer: Refer | None, task: _Task | None, keep: Any) -> bytes:
    buffer = BytesIO()
    pickler = ValuePickler(buffer, 5, True, keep)
    pickler.refer, pickler.task, pickler.viewed = refer, task, []
    pickler.dump(value)
    return buffer.getvalue()


def _raw(buffer: PickleBuffer) -> memoryview | None:
    """Return the bytes of a buffer; None if they are not contiguous: pickle says that better."""
    try:
        return buffer.raw()
    except BufferError:
        return None


class _Parts(list[Any]):
    """What a pickler writes. What is large comes as it is, and is not copied here."""

    buffers: tuple[memoryview, ...] = ()
    viewed: frozenset[int] = frozenset()
    write = list.append  # in C: a value that is small is written by one call of it

    def dump(self, value: object, refer: Refer | None, task: _Task | None) -> ValuePickler:
        """Let a value be written, and return the pickler, which keeps alive what is not copied."""
        views: list[PickleBuffer] = []

        def keep(buffer: PickleBuffer) -> bool:  # a large one travels beside, any other inside
            raw = _raw(buffer)
            if raw is None or raw.nbytes < BULK_FROM:
                return True
            if views and any(buffer is each for each in views):
                self.viewed |= {len(self.buffers)}
            self.buffers += (raw,)
            return False

        pickler = ValuePickler(self, 5, True, keep)  # by place, which takes half the time
        pickler.refer, pickler.task, pickler.viewed = refer, task, views
        pickler.dump(value)
        return pickler


class _Copies(_Parts):
    """The same; what may be made shorter or longer meanwhile is copied at once."""

    def write(self, data: Any) -> None:
        self.append(bytes(data) if type(data) is bytearray else data)


def write_apart(value: object, refer: Refer | None, task: _Task | None = None) -> bytes | Parcel:
    """As `write`, but what is large is a parcel."""
    parts = _Parts()
    pickler = parts.dump(value, refer, task)
    if len(parts) == 1 and not parts.buffers and len(parts[0]) < BULK_FROM:
        return cast(bytes, parts[0])
    if bytearray in map(type, parts):
        parts = _Copies()
        pickler = parts.dump(value, refer, task)
    # What is no bytes is a view of what the pickler keeps alive.
    written = [p if type(p) is bytes else bytes(p) for p in parts]
    parcel = Parcel(written, parts.buffers, parts.viewed)
    del pickler
    return parcel if len(parcel) >= BULK_FROM else b"".join(parcel.parts)


def encode(
    exc: BaseException,
    where: str | None,
    refer: Refer | None,
    active: frozenset[int] = frozenset(),
) -> bytes:
    """The failure `exc` as bytes; never fails.

    Args:
        exc: what a method raised, or an exception inside a value.
        where: the method, for people; None where no traceback is wanted.
        refer: as in `pipeproxy.codecs`.
        active: ids of the exceptions that hold this one.
    """
    try:
        return dumps(_nodes(exc, where, refer, active), 5)
    except Exception as error:
        return _undescribed(exc, error)


def encode_apart(exc: BaseException, where: str | None, refer: Refer | None) -> bytes | Parcel:
    """As `encode`, but what is large is a parcel."""
    try:
        return write_apart(_nodes(exc, where, refer, frozenset()), None)
    except Exception as error:
        return _undescribed(exc, error)


def _undescribed(exc: BaseException, error: Exception) -> bytes:
    names = ((type(exc).__module__, type(exc).__qualname__),)
    text = f"{type_name(names)} cannot be described: {safe_str(error)}"
    return dumps([(names, safe_str(exc), text, [], (), -1, -1, False)], 5)


def _nodes(
    exc: BaseException, where: str | None, refer: Refer | None, active: frozenset[int]
) -> list[tuple[Any, ...]]:
    nodes = []
    chain: list[tuple[BaseException, int, int]] = []
    _enchain(exc, chain, {})
    for link, cause, context in chain:
        told = where if link is exc or link.__traceback__ is not None else None
        links = cause, context, link.__suppress_context__
        nodes.append((*_node(link, told, refer, active), *links))
    return nodes


def _enchain(
    exc: BaseException | None,
    chain: list[tuple[BaseException, int, int]],
    places: dict[int, int],
) -> int:
    """Append `exc` after its cause and its context, each with the places of these two."""
    if exc is None:
        return -1
    if id(exc) not in places:
        if len(places) == MAX_CHAIN:
            return -1
        places[id(exc)] = -1  # met again before it is done: a cycle, which is cut there
        cause = _enchain(exc.__cause__, chain, places)
        context = _enchain(exc.__context__, chain, places)
        places[id(exc)] = len(chain)
        chain.append((exc, cause, context))
    return places[id(exc)]


def _node(
    exc: BaseException, where: str | None, refer: Refer | None, active: frozenset[int]
) -> tuple[Any, ...]:
    forms, left_out = _forms(exc, refer, active | {id(exc)})
    lines = [] if where is None else [traceback_of(exc, where)]
    lines += [f"({what} stayed in the owner: {why})" for what, why in left_out]
    text = "\n".join(lines) if lines else None
    return names_of(type(exc)), safe_str(exc), text, own_notes(exc), forms


def _forms(
    exc: BaseException, refer: Refer | None, active: frozenset[int]
) -> tuple[list[Form], list[tuple[str, str]]]:
    """Pickles of `exc`, best first, and what is missing in the last of them, and why."""
    forms: list[Form] = []
    careful = _Task(careful=True, active=active)
    if pickles_itself(type(exc)):
        try:
            forms.append(write_beside(Reduced(own_reduce(exc)), refer, careful))
        except Exception:
            pass  # a broken method is as good as none
    try:
        forms.append(write_beside(exc, refer, _Task(False, active, id(exc))))
    except Exception:
        pass
    else:
        return forms, []
    left_out: list[tuple[str, str]] = []

    def travels(name: str, value: object) -> bool:
        try:
            write(value, refer, careful)
        except Exception as error:
            left_out.append((name, safe_str(error)))
            return False
        return True

    def those_that_travel(values: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in values.items() if travels(f"attribute {k!r}", v)}

    made = made_of(exc)
    names, args, fields, state = contents_of(exc)
    if travels("args", (args, made)):
        contents = names, args, those_that_travel(fields), those_that_travel(state)
        reduced = Reduced((make, made, contents, None, None, fill))
        forms.append(write_beside(reduced, refer, careful))
    return forms, left_out


def _is_linked(exc: BaseException) -> bool:
    return exc.__cause__ is not None or exc.__context__ is not None
