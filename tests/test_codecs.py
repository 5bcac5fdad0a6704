"""What travels arrives equal, or the error says which part of it could not, and why.

Here the test process is the owner and, where nothing else is said, the client as well.
"""

from __future__ import annotations

import asyncio
import copyreg
import dataclasses
import datetime
import gc
import io
import json
import os
import pickle as stdlib_pickle
import signal
import subprocess
import sys
import threading
import traceback
import types
import urllib.error
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeproxy.codecs import pickle as codec
from pipeproxy.errors import CodecError, NotExposed, RemoteError, RemoteTraceback

ROOT = Path(__file__).parent.parent
LOCK = threading.Lock()
needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="has no exception groups")


def hop(exc: BaseException, where: str = "Account.deposit") -> BaseException:
    """`exc` as a client gets it."""
    return codec.decode_failure(codec.encode_failure(exc, where, None))


def caught(exc: BaseException) -> BaseException:
    """`exc` after it was raised, with a traceback."""
    try:
        raise exc
    except BaseException as error:
        return error


def told(exc: BaseException) -> str:
    """The owner's traceback that came with `exc`."""
    assert isinstance(exc.__cause__, RemoteTraceback)
    return exc.__cause__.text


def in_new_python(program: str, stdin: bytes) -> subprocess.CompletedProcess[str]:
    prelude = "import sys; from pipeproxy.codecs import pickle as codec; from_owner = "
    command = [sys.executable, "-c", prelude + "sys.stdin.buffer.read()\n" + program]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, check=False)
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


# Values -------------------------------------------------------------------------------------------

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
    | st.sampled_from([..., NotImplemented, range(3), datetime.date(2020, 1, 1)])
)
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.lists(inner).map(tuple)
        | st.frozensets(atoms)
        | st.binary().map(bytearray)
        | st.builds(types.SimpleNamespace, inner=inner)
    ),
    max_leaves=20,
)


def refers_nothing(obj: object) -> Any:
    return NotImplemented


@given(values, st.sampled_from([None, refers_nothing]))
def test_a_value_arrives_equal_and_of_the_same_type(value: object, refer: Any) -> None:
    for payload in (codec.encode(value, refer), memoryview(codec.encode(value, refer))):
        arrived = codec.decode(payload)
        assert arrived == value
        assert type(arrived) is type(value)


@given(
    st.lists(values).map(tuple),
    st.none() | st.dictionaries(st.text(), values),
    st.sampled_from([None, refers_nothing]),
)
def test_a_call_arrives_with_its_arguments_apart(args: Any, kwargs: Any, refer: Any) -> None:
    payload = codec.encode_call(args, kwargs, refer)
    assert codec.decode_call(payload) == (args, kwargs or {})
    assert codec.decode_call(memoryview(payload)) == (args, kwargs or {})


def test_plain_keywords_arrive() -> None:
    assert codec.decode_call(codec.encode_call((1,), {"a": 2})) == ((1,), {"a": 2})


@pytest.mark.parametrize("args", [([1, 2],), ([(), {}],), ((), {}), (((), {}),), ({"a": 1},)])
def test_arguments_that_look_like_a_call_are_not_taken_for_one(args: tuple[Any, ...]) -> None:
    assert codec.decode_call(codec.encode_call(args, None)) == (args, {})
    assert codec.decode_call(codec.encode_call(args, {"k": args})) == (args, {"k": args})


@pytest.mark.parametrize("value", [5, "ab", [], [(), {}, 1], [{}, ()], {}, [[], {}]])
def test_bytes_that_hold_no_call_are_refused(value: object) -> None:
    with pytest.raises(CodecError, match=r"the arguments of Account\.find cannot be rebuilt here"):
        codec.decode_call(stdlib_pickle.dumps(value), "Account.find")


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_the_views_of_a_dict_arrive_as_views_of_a_copy(kind: type[Any]) -> None:
    table = kind({"b": [1], "a": None})
    for view in (table.keys(), table.values(), table.items()):
        arrived = codec.decode(codec.encode([view]))[0]
        assert type(arrived) is type(view)
        assert list(arrived) == list(view)
        assert list(reversed(arrived)) == list(reversed(view))
    keys = codec.decode(codec.encode(table.keys()))
    assert keys & {"a", "c"} == {"a"}
    assert (keys, "b" in keys) == (table.keys(), True)


# References ---------------------------------------------------------------------------------------


class Shared:
    """Travels as its number in `SHARED`."""


SHARED: list[Any] = [Shared(), [1, 2], {"a": 1}, {3}, bytearray(b"x"), LOCK]


def refer(obj: object) -> Any:
    for number, shared in enumerate(SHARED):
        if shared is obj:
            return SHARED.__getitem__, (number,)
    return NotImplemented


def refer_to_number(obj: object) -> Any:
    reduced = refer(obj)
    return NotImplemented if reduced is NotImplemented else (find_shared, reduced[1])


def find_shared(number: int) -> Any:
    return SHARED[number]


@pytest.mark.parametrize("shared", SHARED, ids=lambda shared: type(shared).__name__)
def test_a_shared_object_arrives_as_what_its_reference_leads_to(shared: Any) -> None:
    assert codec.decode(codec.encode(shared, refer_to_number)) is shared
    payload = codec.encode_call((1, shared), {"it": shared}, refer_to_number)
    (one, argument), keywords = codec.decode_call(payload)
    assert (one, argument is shared, keywords["it"] is shared) == (1, True, True)


def test_a_shared_object_deep_inside_a_value_is_a_reference_too() -> None:
    arrived = codec.decode(codec.encode({"a": [SHARED[0], (LOCK,)]}, refer_to_number))
    assert arrived["a"][0] is SHARED[0]
    assert arrived["a"][1][0] is LOCK


def test_references_inside_exceptions_stay_references() -> None:
    exc = ValueError(SHARED[0])
    exc.lock = LOCK  # type: ignore[attr-defined]
    payload = codec.encode_failure(exc, "Account.find", refer_to_number)
    arrived: Any = codec.decode_failure(payload)
    assert arrived.args[0] is SHARED[0]
    assert arrived.lock is LOCK
    assert codec.decode(codec.encode([exc], refer_to_number))[0].lock is LOCK


# What cannot travel -------------------------------------------------------------------------------


@dataclasses.dataclass
class Job:
    name: str
    handle: Any = None


class Slotted:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = LOCK


class WithoutItsLock:
    """Its own ``__getstate__`` drops one lock and forgets the other."""

    def __init__(self) -> None:
        self.dropped, self.forgotten = LOCK, LOCK

    def __getstate__(self) -> dict[str, Any]:
        return {"forgotten": self.forgotten}


class RefusesToReduce:
    def __reduce__(self) -> Any:
        raise ZeroDivisionError("no reason")


class Unprintable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


CULPRITS: dict[str, tuple[Any, str]] = {
    "itself": (LOCK, ""),
    "in a list": ([1, [2, LOCK]], "[1][1]"),
    "in a dict": ({"a": 1, "jobs": [0, 1, {"lock": LOCK}]}, "['jobs'][2]['lock']"),
    "a key": ({("x", LOCK): 1}, " key "),
    "below an unprintable key": ({Unprintable(): LOCK}, "[<Unprintable>]"),
    "below a long key": ({"k" * 99: LOCK}, f"['{'k' * 36}...]"),
    "in a set": ({1, LOCK}, " item <unlocked "),
    "an attribute": (Job("a", Job("b", LOCK)), ".handle.handle"),
    "a slot": ([Slotted()], "[0].lock"),
    "what is left of it": (WithoutItsLock(), ".forgotten"),
    "in a namespace": (types.SimpleNamespace(at=(LOCK,)), ".at[0]"),
    "a cycle": ((loop := [1, LOCK], loop.insert(0, loop))[0], "[0]"),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize(("value", "path"), CULPRITS.values(), ids=CULPRITS)
def test_the_error_says_which_part_of_the_value_cannot_be_sent(value: Any, path: str) -> None:
    with pytest.raises(CodecError) as failure:
        codec.encode(value)
    result = codec.explain_result(value, failure.value, "Scheduler.run")
    assert str(result).startswith(f"the result{path}")
    call = codec.explain_call((1, value), None, None, "Scheduler.run", ["n", "jobs"])
    assert str(call).startswith(f"argument 'jobs'{path}")
    for error in (result, call):
        assert " of Scheduler.run cannot be sent: cannot pickle '_thread.lock' object" in str(error)
        assert "pass by_ref(...) of it, or say @by_reference of the method" in str(error)
        assert isinstance(error.__cause__, TypeError)


def test_every_kind_of_argument_is_called_by_its_name() -> None:
    def explained(*args: Any, **kwargs: Any) -> str:
        with pytest.raises(CodecError):
            codec.encode_call(args, kwargs)
        error = codec.explain_call(args, kwargs, None, "Account.deposit", ["amount", "when"])
        return str(error).partition(" of ")[0]

    assert explained(LOCK) == "argument 'amount'"
    assert explained(1, LOCK) == "argument 'when'"
    assert explained(1, 2, 3, LOCK) == "argument number 4"
    assert explained(1, [2], note=LOCK) == "argument 'note'"


def test_what_travels_as_a_reference_is_no_culprit() -> None:
    args = ([LOCK, Slotted()], threading.Event())
    error = codec.explain_call(args, None, refer_to_number, "A.f", ["a", "b"])
    assert str(error).startswith("argument 'b'._cond")
    error = codec.explain_result(args, error, "A.f", refer_to_number)
    assert str(error).startswith("the result[1]._cond")


def a_generator() -> Iterator[int]:
    yield 1


async def a_coroutine() -> None: ...


async def an_async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_generator, "a generator runs where it was made; pass by_ref(...) of it, or a list"),
        (an_async_generator, "an async generator runs where it was made"),
        (a_coroutine, "a coroutine runs where it was made; await it there"),
        (lambda: lambda: None, "pass by_ref(...) of the function to have it called"),
        (RefusesToReduce, "ZeroDivisionError: no reason; to leave it where it is, pass by_ref"),
    ],
)
def test_common_mistakes_are_answered_in_human_words(make: Callable[[], Any], words: str) -> None:
    value = make()
    with pytest.raises(CodecError) as failure:
        codec.encode(value)
    assert words in str(failure.value)
    assert words in str(codec.explain_result(value, failure.value, "Account.find"))
    assert words in str(codec.explain_call(([value],), None, None, "Account.find", ["a"]))
    if asyncio.iscoroutine(value):
        value.close()


def test_a_value_nested_too_deeply_is_an_error_and_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CodecError) as failure:
        codec.encode(deep)
    words = "the result of Account.find cannot be sent: it is nested too deeply for pickle"
    assert words in str(codec.explain_result(deep, failure.value, "Account.find"))
    while deep:  # CPython frees it recursively, within limits of its own
        deep = deep.pop()


def test_what_the_caller_refused_as_a_whole_is_not_blamed_on_a_part() -> None:
    error = codec.explain_result([LOCK], CodecError("it has 9 bytes"), "Account.find")
    assert str(error).startswith("the result of Account.find cannot be sent: it has 9 bytes;")


class Raises:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error("from __reduce__")


@pytest.mark.parametrize("error", [ValueError, OverflowError, MemoryError, RecursionError, OSError])
def test_whatever_pickling_raises_becomes_a_codec_error(error: type[Exception]) -> None:
    for encode in (codec.encode, lambda value: codec.encode_call((value,), None)):
        with pytest.raises(CodecError) as failure:
            encode(Raises(error))
        assert type(failure.value.__cause__) is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_pickling_stays_an_interrupt(error: type[BaseException]) -> None:
    with pytest.raises(error):
        codec.encode([Raises(error)])
    with pytest.raises(error):
        codec.encode_call(([Raises(error)],), None)


def test_arguments_that_change_meanwhile_are_explained_all_the_same() -> None:
    error = codec.explain_call((1, [2]), None, None, "Account.find", ["a", "b"])
    assert str(error).startswith("the arguments of Account.find cannot be sent")


# What cannot be rebuilt ---------------------------------------------------------------------------


class RefusesItsState:
    def __setstate__(self, state: Any) -> None:
        raise ZeroDivisionError("in __setstate__")

    def __getstate__(self) -> Any:
        return {"a": 1}


def of_a_missing_module() -> bytes:
    module = types.ModuleType("not_there")
    exec("class Thing: pass", vars(module))
    sys.modules["not_there"] = module
    try:
        return stdlib_pickle.dumps((module.Thing(),))
    finally:
        del sys.modules["not_there"]


UNREADABLE = {
    "module missing": (of_a_missing_module(), "No module named 'not_there'"),
    "class moved": (b"\x80\x04cjson\nNoSuchName\n.", "NoSuchName"),
    "state refused": (codec.encode(RefusesItsState()), "ZeroDivisionError: in __setstate__"),
    "truncated": (codec.encode("a" * 100)[:-50], "truncated"),
    "empty": (b"", "EOFError"),
    "garbage": (b"\xff\x00garbage", "UnpicklingError|invalid load key"),
}


@pytest.mark.parametrize(("payload", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_bytes_that_cannot_be_read_here_say_what_is_missing(payload: bytes, words: str) -> None:
    with pytest.raises(CodecError, match=words) as failure:
        codec.decode(payload, "the result of Account.find")
    assert str(failure.value).startswith("the result of Account.find cannot be rebuilt here: ")
    assert failure.value.__cause__ is not None
    with pytest.raises(CodecError, match=words):
        codec.decode_call(payload, "Account.find")


def test_an_error_that_is_kept_does_not_keep_the_read_buffer_from_growing() -> None:
    for decode in (codec.decode, codec.decode_call):
        buffer = bytearray(b"garbage")
        try:
            decode(memoryview(buffer))
        except CodecError as error:
            kept = error
        buffer += b"more"  # BufferError while a view of it lives
        assert kept.__traceback__ is not None


# Exceptions arrive as themselves ------------------------------------------------------------------


class TwoArguments(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code, self.reason = code, reason


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        self.code = code


class WithSlots(Exception):
    __slots__ = ("__private", "code", "unset")

    def __init__(self, code: int) -> None:
        self.code, self.__private = code, code + 1

    def private(self) -> int:
        return self.__private


class OwnNew(Exception):
    def __new__(cls, code: int, *, wanted: str) -> Any:
        self = super().__new__(cls, code)
        self.wanted = wanted  # type: ignore[attr-defined]
        return self

    def __init__(self, code: int, *, wanted: str) -> None: ...


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class TwoBases(ValueError, OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "no file", path)


class OwnArgs(Exception):
    args: Any = property(lambda self: 1 / 0)


class OnlyStr(OSError):
    filename = property(lambda self: "another")  # type: ignore[assignment]


def unicode_error_with_other_args() -> UnicodeDecodeError:
    exc = UnicodeDecodeError("utf-8", b"abc", 1, 2, "bad")
    exc.args = ("changed",)
    return exc


def with_attributes(exc: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(exc, name, value)
    return exc


def raised_by(code: str, error: type[BaseException]) -> BaseException:
    with pytest.raises(error) as failure:
        exec(code, {"__builtins__": __builtins__})
    return failure.value


EXCEPTIONS: list[BaseException] = [
    ValueError("bad", 3),
    ValueError(),
    KeyError("k"),
    IndexError(),
    ZeroDivisionError("1"),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError("why"),
    OSError("only text"),
    OSError(2, "no file"),
    FileNotFoundError(2, "no file", "/a"),
    OSError(18, "across", "/a", None, "/b"),
    with_attributes(BlockingIOError(11, "later"), characters_written=7),
    ConnectionResetError(104, "reset"),
    with_attributes(OSError(), errno=5, strerror="set later"),
    ImportError("no", name="a.b", path="/a"),
    ModuleNotFoundError("no", name="a"),
    StopIteration({"a": 1}),
    StopAsyncIteration(1),
    SystemExit(3),
    SyntaxError("bad", ("f.py", 3, 5, "a b c")),
    raised_by("a b c", SyntaxError),
    raised_by("if 1:\n  a\n b", IndentationError),
    raised_by("undefined_name", NameError),
    raised_by("(1).nothing", AttributeError),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
    UnicodeEncodeError("ascii", "\xe4", 0, 1, "bad letter"),
    UnicodeTranslateError("\xe4", 0, 1, "bad letter"),
    unicode_error_with_other_args(),
    stdlib_pickle.PicklingError("p"),
    NotExposed("hidden"),
    json.JSONDecodeError("bad", "{", 1),
    subprocess.CalledProcessError(3, ["ls"], b"out"),
    with_attributes(ValueError("v"), code=3, detail={"a": [1]}),
    TwoArguments(3, "reason"),
    KeywordOnly(code=4),
    with_attributes(WithSlots(5), more=1),
    OwnNew(1, wanted="w"),
    Frozen(6),
    TwoBases("/a"),
    OnlyStr(2, "no file", "/a"),
]


def content(exc: BaseException) -> dict[str, Any]:
    """All that can be seen of `exc`, but for its links."""
    seen = {"str": str(exc), "repr": repr(exc), "dict": vars(exc), "args": exc.args}
    for name in dir(exc):
        if not name.startswith("__") and name not in {"obj", "with_traceback"}:
            value = getattr(exc, name, "unset")
            seen[name] = None if callable(value) else value
    return seen


@pytest.mark.parametrize("exc", EXCEPTIONS, ids=lambda exc: type(exc).__name__)
def test_an_exception_arrives_as_itself(exc: BaseException) -> None:
    nested = codec.decode(codec.encode({"it": [exc]}))["it"][0]
    for arrived in (hop(exc), hop(hop(exc)), nested):
        assert type(arrived) is type(exc)
        assert content(arrived) == content(exc)


def test_hidden_slots_arrive_too() -> None:
    arrived = hop(WithSlots(5))
    assert isinstance(arrived, WithSlots)
    assert arrived.private() == 6
    assert not hasattr(arrived, "unset")


def test_the_object_of_an_attribute_error_stays_in_the_owner() -> None:
    arrived: Any = hop(raised_by("[1, 2].nothing", AttributeError))
    assert arrived.name == "nothing"
    assert arrived.obj is None


def test_an_exception_that_redefines_args_arrives() -> None:
    assert type(hop(OwnArgs("a"))) is OwnArgs


def test_an_http_error_arrives_without_its_open_socket() -> None:
    exc = urllib.error.HTTPError("http://a", 404, "gone", Message(), io.BytesIO(b"body"))
    exc.fp = LOCK  # type: ignore[assignment]
    arrived = hop(exc)
    assert type(arrived) is urllib.error.HTTPError
    assert (arrived.code, arrived.msg) == (404, "gone")
    assert "attribute 'fp' stayed in the owner: cannot pickle '_thread.lock'" in told(arrived)


@pytest.mark.parametrize("nested", [False, True])
def test_notes_arrive(nested: bool) -> None:
    exc = with_attributes(json.JSONDecodeError("bad", "{", 1), __notes__=["in line 3"])
    arrived: Any = codec.decode(codec.encode([exc]))[0] if nested else hop(exc)
    assert arrived.__notes__ == ["in line 3"]


@needs_groups
def test_groups_arrive_with_what_they_hold() -> None:
    inner = ExceptionGroup("inner", [TwoArguments(1, "a"), caught(KeyError("k"))])  # type: ignore[list-item,name-defined] # noqa: F821
    arrived: Any = hop(caught(BaseExceptionGroup("outer", [inner, SystemExit(3)])))  # type: ignore[name-defined] # noqa: F821
    assert (type(arrived).__name__, arrived.message) == ("BaseExceptionGroup", "outer")
    deep, other = arrived.exceptions
    assert (type(deep).__name__, deep.message) == ("ExceptionGroup", "inner")
    assert [repr(exc) for exc in deep.exceptions] == ["TwoArguments('1: a')", "KeyError('k')"]
    assert deep.exceptions[0].code == 1
    assert other.code == 3
    assert arrived.args[1][0] is deep
    assert "KeyError: 'k'" in told(arrived)
    assert "in caught" in told(arrived).partition("KeyError")[0]


@needs_groups
def test_a_group_survives_one_member_that_cannot_travel() -> None:
    group = ExceptionGroup("two", [ValueError(LOCK), KeyError("k")])  # type: ignore[name-defined] # noqa: F821
    arrived: Any = hop(group)
    assert type(arrived) is type(group)
    lost, kept = arrived.exceptions
    assert isinstance(lost, RemoteError)
    assert (lost.type_name, type(kept)) == ("ValueError", KeyError)


@needs_groups
def test_a_group_with_a_constructor_of_its_own_arrives() -> None:
    arrived: Any = hop(OwnGroup([ValueError("v")], 7))
    assert type(arrived) is OwnGroup
    assert (arrived.message, arrived.code, arrived.args[1]) == ("own", 7, 7)


if sys.version_info >= (3, 11):

    class OwnGroup(ExceptionGroup):  # type: ignore[name-defined,misc] # noqa: F821
        def __new__(cls, errors: Any, code: int) -> Any:
            self = super().__new__(cls, "own", errors)
            self.code = code
            return self


@given(st.lists(values).map(tuple), st.dictionaries(st.text(), values))
def test_any_arguments_and_attributes_of_an_exception_arrive(args: Any, attributes: Any) -> None:
    exc = KeywordOnly(code=1)
    exc.args = args
    vars(exc).update(attributes)
    arrived = hop(exc)
    assert (arrived.args, vars(arrived)) == (exc.args, vars(exc))


# How a class says it wants to be pickled ----------------------------------------------------------


class OwnReduce(Exception):
    def __init__(self, code: int, source: str = "constructor") -> None:
        self.code, self.source = code, source

    def __reduce__(self) -> Any:
        return OwnReduce, (self.code, "reduce")


class ReduceRaises(TwoArguments):
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


class ReduceHoldsLock(TwoArguments):
    def __reduce__(self) -> Any:
        return ReduceHoldsLock, (1, LOCK)


class ReduceMisleads(TwoArguments):
    def __reduce__(self) -> Any:
        return ReduceMisleads, ("one argument",)


class ReduceToText(TwoArguments):
    def __reduce__(self) -> Any:
        return str, ("not an exception",)


class ReduceToName(TwoArguments):
    def __reduce__(self) -> str:
        return "LOCK"


class OwnState(Exception):
    def __init__(self, code: int) -> None:
        self.code, self.lock = code, LOCK

    def __getstate__(self) -> Any:
        return (self.code,)

    def __setstate__(self, state: Any) -> None:
        self.code, self.lock = state[0], "made anew"


class StateRaises(TwoArguments):
    def __getstate__(self) -> Any:
        raise ZeroDivisionError

    def __setstate__(self, state: Any) -> None:
        raise ZeroDivisionError


class StateRefused(TwoArguments):
    def __getstate__(self) -> Any:
        return (self.code,)

    def __setstate__(self, state: Any) -> None:
        raise ZeroDivisionError


class StateHoldsLock(TwoArguments):
    def __getstate__(self) -> Any:
        return (LOCK,)

    def __setstate__(self, state: Any) -> None:
        self.code = "from a lock"


class OnlySetState(TwoArguments):
    def __setstate__(self, state: Any) -> None:
        vars(self).update(state, source="setstate")


class OnlyGetState(TwoArguments):
    def __getstate__(self) -> Any:
        return vars(self) | {"source": "getstate"}


class Registered(Exception):
    def __init__(self, code: int, source: str) -> None:
        self.code, self.source = code, source


def rebuild_registered(code: int) -> Registered:
    return Registered(code, "copyreg")


def both_ways(exc: BaseException) -> list[Any]:
    return [hop(exc), codec.decode(codec.encode([exc]))[0]]


def test_a_class_that_pickles_itself_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = {Registered: lambda exc: (rebuild_registered, (exc.code,))}
    monkeypatch.setattr(copyreg, "dispatch_table", copyreg.dispatch_table | registered)
    for arrived in both_ways(OwnReduce(3)):
        assert (type(arrived), arrived.code, arrived.source) == (OwnReduce, 3, "reduce")
    for arrived in both_ways(Registered(3, "constructor")):
        assert (type(arrived), arrived.code, arrived.source) == (Registered, 3, "copyreg")
    for arrived in both_ways(OwnState(3)):
        assert (type(arrived), arrived.code, arrived.lock) == (OwnState, 3, "made anew")
    for arrived in both_ways(OnlySetState(3, "r")):
        assert (type(arrived), arrived.code, arrived.source) == (OnlySetState, 3, "setstate")
    for arrived in both_ways(OnlyGetState(3, "r")):
        assert (type(arrived), arrived.code, arrived.source) == (OnlyGetState, 3, "getstate")


@pytest.mark.parametrize(
    "cls",
    [
        ReduceRaises,
        ReduceHoldsLock,
        ReduceMisleads,
        ReduceToText,
        ReduceToName,
        StateRaises,
        StateRefused,
        StateHoldsLock,
    ],
)
def test_a_class_whose_own_pickling_fails_arrives_nevertheless(cls: type[TwoArguments]) -> None:
    for arrived in both_ways(cls(3, "reason")):
        assert type(arrived) is cls
        assert content(arrived) == content(cls(3, "reason"))


# What is missing is said --------------------------------------------------------------------------


def test_an_attribute_that_cannot_travel_is_left_out_and_named() -> None:
    exc = caught(with_attributes(ValueError("v"), lock=LOCK, code=3))
    arrived: Any = hop(exc)
    assert (type(arrived), arrived.args, vars(arrived)) == (ValueError, ("v",), {"code": 3})
    assert "ValueError: v\n(attribute 'lock' stayed in the owner: cannot pickle" in told(arrived)
    nested = codec.decode(codec.encode([1, exc]))[1]
    assert (type(nested), vars(nested)) == (ValueError, {"code": 3})


def test_a_slot_that_cannot_travel_is_left_out_and_named() -> None:
    arrived: Any = hop(with_attributes(WithSlots(3), code=LOCK))
    assert type(arrived) is WithSlots
    assert not hasattr(arrived, "code")
    assert "attribute 'code' stayed in the owner" in told(arrived)


def test_arguments_that_cannot_travel_make_it_a_remote_error() -> None:
    arrived = hop(caught(TwoArguments(1, "r").with_traceback(None)))
    assert type(arrived) is TwoArguments
    arrived = hop(caught(with_attributes(TwoArguments(1, "r"), args=(LOCK, "text"))))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name == f"{__name__}.TwoArguments"
    assert "'text'" in arrived.message
    assert "in caught" in told(arrived)
    assert "(args stayed in the owner: cannot pickle '_thread.lock' object" in told(arrived)


def test_a_value_survives_an_exception_in_it_that_cannot_travel() -> None:
    shared = ["same"]
    first, lost, last = codec.decode(codec.encode([shared, ValueError(LOCK), shared]))
    assert isinstance(lost, RemoteError)
    assert (lost.type_name, first) == ("ValueError", ["same"])
    assert first is last


class Hostile(Exception):
    """Refuses everything that an exception can refuse."""

    def __init__(self) -> None:
        super().__init__(LOCK)
        self.lock = LOCK

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __reduce__ = __reduce_ex__ = __getstate__ = __str__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __setattr__(self, name: str, value: object) -> None:
        if name != "lock":
            raise ZeroDivisionError
        super().__setattr__(name, value)


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize("cls", [Hostile, NoAttributes])
def test_an_exception_that_refuses_everything_is_still_reported(cls: type[Exception]) -> None:
    arrived = hop(caught(cls()))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name == f"{__name__}.{cls.__name__}"
    arrived = codec.decode(codec.encode([caught(cls())]))[0]
    assert isinstance(arrived, RemoteError)


def test_a_broken_str_spoils_nothing_but_the_text() -> None:
    class BadStr(ValueError):
        __str__ = __repr__ = lambda self: 1 / 0  # type: ignore[assignment,return-value]

    arrived = hop(caught(BadStr("v")))
    assert type(arrived) is BadStr
    assert arrived.args == ("v",)
    assert "in caught" in told(arrived)


def test_a_traceback_that_cannot_be_shown_spoils_nothing_else() -> None:
    class Number(int):
        def __str__(self) -> str:
            raise ZeroDivisionError("no number")

        def __reduce__(self) -> Any:
            return int, (3,)

    arrived: Any = hop(caught(with_attributes(SyntaxError("bad"), lineno=Number(3))))
    assert (type(arrived), arrived.msg, arrived.lineno) == (SyntaxError, "bad", 3)
    assert "its traceback cannot be shown: no number" in told(arrived)


@pytest.mark.parametrize("payload", [b"", b"garbage", stdlib_pickle.dumps([]), b"\x80\x05N."])
def test_bytes_that_hold_no_failure_are_a_remote_error(payload: bytes) -> None:
    assert isinstance(codec.decode_failure(payload), RemoteError)


# Classes that are found, and those that are not ---------------------------------------------------


def local_class(base: type[BaseException] = BufferError) -> type[BaseException]:
    class Local(base):  # type: ignore[valid-type,misc]
        def __init__(self, code: int, reason: str) -> None:
            BaseException.__init__(self, reason)
            self.code = code

    return Local


def test_a_local_class_is_found_in_a_forked_child() -> None:
    cls = local_class()
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writable, codec.encode_failure(caught(cls(3, "r")), "Account.find", None))
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as pipe:
        arrived: Any = codec.decode_failure(pipe.read())
    assert os.waitpid(pid, 0)[1] == 0
    assert type(arrived) is cls
    assert (arrived.code, arrived.args) == (3, ("r",))
    assert f"process {pid}" in told(arrived)


def test_a_local_class_is_found_below_a_base_of_the_users_own() -> None:
    cls = local_class(TwoArguments)
    assert type(hop(cls(3, "r"))) is cls


def test_a_local_class_is_found_below_another_local_class() -> None:
    cls = local_class(local_class(EOFError))
    cls.__qualname__ += "Below"
    assert type(hop(cls(3, "r"))) is cls


def test_two_local_classes_of_one_name_are_not_guessed_between() -> None:
    first, second = local_class(KeyError), local_class(KeyError)
    assert isinstance(hop(first(3, "r")), RemoteError)
    del second
    gc.collect()
    assert type(hop(first(3, "r"))) is first


def test_a_local_class_is_a_remote_error_in_a_fresh_process() -> None:
    exc = caught(local_class(ArithmeticError)(3, "reason"))
    payload = codec.encode_failure(exc, "Account.find", None)
    program = "exc = codec.decode_failure(from_owner)\nprint(repr(exc))\n"
    program += f"print({__name__!r} in sys.modules)\nraise exc"
    done = in_new_python(program, payload)
    name = f"{__name__}.local_class.<locals>.Local"
    assert done.stdout == f"RemoteError('{name}', 'reason')\nFalse\n", done.stderr
    assert f"process {os.getpid()}, Account.find" in done.stderr
    nested = in_new_python("print(codec.decode(from_owner))", codec.encode([exc, 5]))
    assert nested.stdout == f"[RemoteError('{name}', 'reason'), 5]\n", nested.stderr


@pytest.mark.parametrize("qualname", ["system", "no_such_name", "path.join", "stat_result"])
def test_a_name_that_is_no_exception_class_is_never_called(qualname: str) -> None:
    cls = type("Liar", (Exception,), {"__module__": "os", "__qualname__": qualname})
    for payload, read in (
        (codec.encode_failure(cls("echo"), "Account.find", None), "codec.decode_failure"),
        (codec.encode(cls("echo")), "codec.decode"),
    ):
        done = in_new_python(f"print(repr({read}(from_owner)))", payload)
        assert done.stdout == f"RemoteError('os.{qualname}', 'echo')\n", done.stderr


# Chains and tracebacks ----------------------------------------------------------------------------


def fail_from() -> None:
    try:
        {}["key"]
    except KeyError as error:
        raise TwoArguments(3, "from") from error


def fail_within() -> None:
    try:
        {}["key"]
    except KeyError:
        raise TwoArguments(3, "within")  # noqa: B904


def fail_from_none() -> None:
    try:
        {}["key"]
    except KeyError:
        raise TwoArguments(3, "none") from None


def raised(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raises")


def printed(exc: BaseException) -> str:
    return "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))


def test_a_cause_travels_with_its_own_traceback() -> None:
    arrived = hop(raised(fail_from))
    assert isinstance(arrived.__cause__, RemoteTraceback)
    cause = arrived.__cause__.__cause__
    assert (type(cause), cause.args) == (KeyError, ("key",))  # type: ignore[union-attr]
    assert '{}["key"]' in told(cause)  # type: ignore[arg-type]
    assert printed(arrived).count('{}["key"]') == 1
    assert printed(arrived).count("During handling") == 0


def test_a_context_travels_as_context() -> None:
    arrived = hop(raised(fail_within))
    assert isinstance(arrived.__cause__, RemoteTraceback)
    context = arrived.__cause__.__context__
    assert type(context) is KeyError
    assert context is arrived.__context__
    assert printed(arrived).count('{}["key"]') == 1
    assert printed(arrived).count("During handling") == 1


def test_a_suppressed_context_stays_suppressed() -> None:
    arrived = hop(raised(fail_from_none))
    assert type(arrived.__context__) is KeyError
    assert '{}["key"]' not in printed(arrived)


def test_an_uncaught_failure_prints_the_whole_chain_once_and_in_order() -> None:
    payload = codec.encode_failure(raised(fail_from), "Account.find", None)
    done = in_new_python(
        "def client():\n  raise codec.decode_failure(from_owner)\nclient()", payload
    )
    told_once = [
        '{}["key"]',
        "KeyError: 'key'\n\nThe above exception was the direct cause",
        "in fail_from\n    raise TwoArguments",
        "The above exception was the direct cause of the following exception:\n\nTraceback",
        "in client",
    ]
    places = [done.stderr.find(part) for part in told_once]
    assert -1 not in places
    assert places == sorted(places)
    assert done.stderr.count('{}["key"]') == done.stderr.count("raise TwoArguments") == 1
    assert done.stderr.endswith("TwoArguments: 3: from\n")


def test_a_failure_passed_on_by_a_second_owner_tells_of_both() -> None:
    def pass_on() -> None:
        raise hop(raised(fail_from), "Bank.first")

    arrived = hop(raised(pass_on), "Desk.second")
    assert type(arrived) is TwoArguments
    text = printed(arrived)
    parts = ['{}["key"]', ", Bank.first)", "raise TwoArg", ", Desk.second)", "in pass_on"]
    assert text.count(", Bank.first)") == 2  # once for each exception of the chain
    assert [text.count(part) for part in parts if "first" not in part] == [1, 1, 1, 1]
    places = [text.rfind(part) for part in parts]
    assert places == sorted(places)
    assert text.endswith("TwoArguments: 3: from\n")


def test_a_cause_that_was_never_raised_has_no_traceback_of_its_own() -> None:
    exc = ValueError("v")
    exc.__cause__ = KeyError("never raised")
    cause = hop(exc).__cause__.__cause__  # type: ignore[union-attr]
    assert type(cause) is KeyError
    assert cause.__cause__ is None


def test_links_of_an_exception_inside_a_value_travel() -> None:
    arrived = codec.decode(codec.encode([raised(fail_from), 5]))[0]
    assert (type(arrived), type(arrived.__cause__)) == (TwoArguments, KeyError)
    assert type(codec.decode(codec.encode(raised(fail_within))).__context__) is KeyError


def test_a_circle_of_causes_is_cut() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    arrived = hop(first)
    inner = arrived.__cause__.__cause__  # type: ignore[union-attr]
    assert type(inner) is KeyError
    assert inner.__context__ is None
    assert "first" in printed(arrived)


def test_an_endless_chain_is_cut_short() -> None:
    exc = BaseException("innermost")
    for number in range(5000):
        outer = ValueError(number)
        outer.__context__ = exc
        exc = outer
    arrived = hop(exc)
    assert arrived.args == (4999,)
    length = 0
    while arrived.__context__ is not None:
        arrived, length = arrived.__context__, length + 1
    assert 10 < length < 100


def test_exceptions_that_hold_each_other_arrive_with_the_circle_closed() -> None:
    exc: Any = ValueError("v")
    exc.errors = [exc]
    for arrived in both_ways(exc):
        assert arrived.errors[0] is arrived
    exc.lock = LOCK
    for arrived in both_ways(exc):
        assert type(arrived) is ValueError
        assert isinstance(arrived.errors[0], RemoteError)


def test_many_broken_exceptions_inside_each_other_are_described_in_bounded_time() -> None:
    exc: Any = ValueError("innermost")
    for number in range(50):
        exc = with_attributes(ValueError(number), lock=LOCK, inner=exc)

    def too_slow(*_: Any) -> None:
        pytest.fail("took more than 20 s")

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(20)
    try:
        arrived: Any = hop(exc)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert arrived.inner.inner.args == (47,)


def test_a_failure_leaves_no_reference_cycle() -> None:
    def catch(payload: bytes) -> list[weakref.ref[Any]]:
        try:
            raise codec.decode_failure(payload)
        except TwoArguments as exc:
            return [weakref.ref(exc), weakref.ref(exc.__cause__), weakref.ref(told_by(exc))]

    def told_by(exc: BaseException) -> Any:
        return exc.__cause__.__context__.__cause__  # type: ignore[union-attr]

    payload = codec.encode_failure(raised(fail_within), "Account.find", None)
    gc.disable()
    try:
        assert [ref() for ref in catch(payload)] == [None, None, None]
    finally:
        gc.enable()


def test_encoding_keeps_nothing_of_the_failure_alive() -> None:
    def fail() -> weakref.ref[Any]:
        exc = with_attributes(TwoArguments(1, "r"), lock=LOCK)
        try:
            raise exc
        except TwoArguments:
            codec.encode_failure(exc, "Account.find", None)
            return weakref.ref(exc)
        finally:
            exc.__traceback__ = None
            del exc

    gc.disable()
    try:
        assert fail()() is None
    finally:
        gc.enable()


class FailsOnce:
    """As if a signal handler raised in the middle of pickling."""

    def __init__(self) -> None:
        self.asked = 0

    def __reduce__(self) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise InterruptedError("a handler raised")
        return FailsOnce, ()


def test_what_is_raised_once_while_pickling_is_raised_as_it_is() -> None:
    with pytest.raises(InterruptedError, match="a handler raised") as raised:
        codec.encode([FailsOnce()])
    assert raised.value.__cause__ is None
    with pytest.raises(InterruptedError, match="a handler raised"):
        codec.encode_call((FailsOnce(),), None)
