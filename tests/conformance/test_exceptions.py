"""A method's exception arrives in its caller as itself, and the owner goes on."""

from __future__ import annotations

import builtins
import pickle
import threading
import traceback
from typing import Any

import pytest

from pipeproxy import CodecError, RemoteError, RemoteTraceback, share
from tests.children import run

from .conftest import Elsewhere
from .subjects import Account, Box, Failing, Local


def told(failing: Any, name: str) -> dict[str, Any]:
    """What there is to see of the exception of one method, and whether the owner goes on."""
    before = failing.count()
    try:
        getattr(failing, name)()
    except BaseException as error:
        links = [error.__cause__, error.__context__, error.__cause__.__cause__]
        return {
            "type": type(error).__name__,
            "args": error.args,
            "fields": {k: v for k, v in vars(error).items() if not k.startswith("_")},
            "links": [type(link).__name__ for link in links],
            "text": str(error.__cause__),
            "printed": "".join(traceback.format_exception(error)),
            "goes on": failing.count() == before + 1,
        }
    raise AssertionError("it raised nothing")


@pytest.fixture
def tell(elsewhere: Elsewhere) -> Any:
    def tell(name: str) -> dict[str, Any]:
        proxy, listener = share(Failing())
        with listener:
            seen: dict[str, Any] = elsewhere.run(listener, told, proxy, name)
        assert seen.pop("goes on")
        return seen

    return tell


def test_its_cause_is_the_owners_traceback(tell: Any) -> None:
    seen = tell("plain")
    assert (seen["type"], seen["args"]) == ("ValueError", ("plain", 5))
    assert seen["links"][0] == RemoteTraceback.__name__
    assert 'raise ValueError("plain", 5)' in seen["text"]
    assert "subjects.py" in seen["text"]


def test_one_with_another_constructor_arrives_with_its_attributes(tell: Any) -> None:
    seen = tell("custom")
    assert (seen["type"], seen["args"]) == ("Broken", ("the door is broken",))
    assert seen["fields"] == {"part": "the door", "code": 7}


def catch_local(failing: Any, cls: type[Exception] | None) -> Any:
    try:
        failing.local()
    except RemoteError as error:
        return error.type_name.rpartition(".")[2], error.message
    except LookupError as error:
        return type(error) is cls, error.args


def test_one_of_a_local_class_arrives_in_a_forked_child() -> None:
    proxy, listener = share(Failing())
    with listener:
        assert run("fork", listener, catch_local, proxy, Local) == (True, ("here",))


def test_one_of_a_class_that_only_the_owner_has_says_what_it_was(elsewhere: Elsewhere) -> None:
    proxy, listener = share(Failing())
    with listener:
        seen = elsewhere.run(listener, told, proxy, "fresh")
    assert seen["type"] == RemoteError.__name__
    assert seen["args"] == ("tests.conformance.subjects.Failing.fresh.<locals>.Fresh", "now")


def test_a_chain_arrives_whole(tell: Any) -> None:
    seen = tell("chained")
    assert (seen["type"], seen["args"]) == ("RuntimeError", ("outer",))
    assert seen["links"][2] == "KeyError"
    assert "direct cause" in seen["printed"]
    assert 'raise KeyError("inner")' in seen["printed"]


def test_a_context_arrives(tell: Any) -> None:
    seen = tell("in_context")
    assert (seen["type"], seen["args"]) == ("RuntimeError", ("second",))
    assert seen["links"][1] == "KeyError"
    assert "During handling of the above exception" in seen["printed"]


def members_of(failing: Any) -> Any:
    try:
        failing.group()
    except Exception as group:
        return group.message, [(type(e).__name__, e.args, vars(e)) for e in group.exceptions]


@pytest.mark.skipif(not hasattr(builtins, "ExceptionGroup"), reason="Python 3.10 has no groups")
def test_a_group_arrives_with_its_members(elsewhere: Elsewhere) -> None:
    proxy, listener = share(Failing())
    with listener:
        message, members = elsewhere.run(listener, members_of, proxy)
    assert message == "both"
    assert members == [
        ("ValueError", (1,), {}),
        ("Broken", ("x is broken",), {"part": "x", "code": 2}),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "args"),
    [
        ("leave", "SystemExit", (3,)),
        ("interrupt", "KeyboardInterrupt", ("by the method",)),
        ("stop", "StopIteration", ("enough",)),
    ],
)
def test_what_would_end_the_owner_goes_to_the_caller(
    tell: Any, name: str, kind: str, args: tuple[Any, ...]
) -> None:
    seen = tell(name)
    assert (seen["type"], seen["args"]) == (kind, args)


def test_serve_goes_on_after_a_method_raised_what_would_end_it(elsewhere: Elsewhere) -> None:
    proxy, listener = share(Failing())
    with listener, listener.background():
        for name in ("leave", "interrupt"):
            assert elsewhere.run(None, told, proxy, name)["goes on"]


# What cannot travel ------------------------------------------------------------------------------


def codec_errors(failing: Any, account: Any) -> list[str]:
    lock = threading.Lock()
    texts = []
    for use in (
        lambda: account.deposit(lock),
        lambda: account.deposit(1, memo=lock),
        lambda: account.describe("fine", [lock]),
        lambda: setattr(account, "owner", lock),
        failing.unpicklable,
        failing.nested_function,
    ):
        try:
            use()
        except CodecError as error:
            texts.append(str(error))
        except BaseException as error:
            texts.append(f"{type(error).__name__}: {error}")
    texts.append(str((failing.count(), account.deposit(1))))
    return texts


def check_codec_errors(texts: list[str]) -> None:
    for text, words in zip(
        texts,
        [
            "argument 'amount' of Account.deposit",
            "argument 'memo' of Account.deposit",
            "argument number 2[0] of Account.describe",
            "argument 'value' of Account.owner",
            "the result['lock'][0] of Failing.unpicklable",
            "the result of Failing.nested_function",
            "(1, (101, 'cash'))",
        ],
        strict=True,
    ):
        assert words in text


def test_a_codec_error_names_the_argument_or_the_result(elsewhere: Elsewhere) -> None:
    proxy, listener = share(Failing())
    with listener:
        account = listener.share(Account())
        check_codec_errors(elsewhere.run(listener, codec_errors, proxy, account))


def send_a_lock(account: Any) -> str:
    try:
        account.deposit(threading.Lock())
    except CodecError as error:
        return str(error)
    return "sent"


def test_an_argument_that_cannot_travel_is_found_before_anything_is_sent(
    elsewhere: Elsewhere,
) -> None:
    proxy, listener = share(Account())
    with listener:
        assert "argument 'amount'" in elsewhere.run(None, send_a_lock, proxy)
        assert listener.poll() == 0


class OnlyHere:
    """Pickled here, but no other process can find it."""


def result_of(box: Any) -> str:
    try:
        box.get()
    except CodecError as error:
        return str(error)
    return "arrived"


@pytest.mark.parametrize("context", ["spawn", "forkserver"], indirect=True)
def test_a_result_that_cannot_be_rebuilt_is_a_codec_error_in_the_caller(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OnlyHere, "__reduce__", lambda self: (_rebuild_only_here, ()), raising=False
    )
    monkeypatch.setattr("tests.conformance.test_exceptions._here", True)
    assert isinstance(pickle.loads(pickle.dumps(OnlyHere())), OnlyHere)
    proxy, listener = share(Box(OnlyHere()))
    with listener:
        text = elsewhere.run(listener, result_of, proxy)
    assert "the result of Box.get cannot be rebuilt here" in text
    assert "not in this process" in text


_here = False


def _rebuild_only_here() -> OnlyHere:
    if not _here:
        raise LookupError("not in this process")
    return OnlyHere()
