"""Errors that nobody can be given are told by Python's own hook."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from pipeproxy._system._reports import report

from .children import run_program


def test_the_hook_gets_what_python_itself_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []

    def hook(args: sys.UnraisableHookArgs) -> None:
        told.append((type(args).__name__, args.exc_type, str(args.exc_value), repr(args.object)))

    monkeypatch.setattr(sys, "unraisablehook", hook)
    report(ValueError("why"), "Account.deposit")
    assert told == [("UnraisableHookArgs", ValueError, "why", "Account.deposit")]


def test_pythons_default_hook_shows_where_and_why() -> None:
    ended = run_program(
        "from pipeproxy._system._reports import report\n"
        "def deposit(): raise ValueError('why')\n"
        "try: deposit()\n"
        "except ValueError as error: report(error, 'Account.deposit')\n"
    )
    assert ended.returncode == 0
    assert "Exception ignored in: Account.deposit" in ended.stderr
    assert "in deposit" in ended.stderr
    assert "ValueError: why" in ended.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_no_error_is_raised(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_type))
    report(error, "a method")
    assert told == [type(error)]


def test_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thing:
        pass

    monkeypatch.setattr(sys, "unraisablehook", lambda args: None)
    thing = Thing()
    error = ValueError(thing)
    report(error, "a method")
    gone = weakref.ref(thing)
    del thing, error
    gc.collect()
    assert gone() is None
