"""Errors: the tree that is drawn is the tree that is there, and every error survives its travel."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re
from typing import Any

import pytest

import pipeproxy
from pipeproxy import errors
from pipeproxy.errors import PipeProxyError, RemoteError, RemoteTraceback

DRAWING = inspect.getdoc(errors) or ""
BRANCH = re.compile(
    r"^ +(?:├──|└──) (?P<name>\w+)(?: \((?P<builtin>\w+)\))? +(?P<meaning>\S.*)$", re.MULTILINE
)
BRANCHES = [found.groups() for found in BRANCH.finditer(DRAWING)]
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and value.__module__ == errors.__name__
}

each_branch = pytest.mark.parametrize(
    ("name", "builtin"), [branch[:2] for branch in BRANCHES], ids=[branch[0] for branch in BRANCHES]
)


def make(cls: type[BaseException]) -> Any:
    return cls("module.Class", "text") if cls is RemoteError else cls("text")


def test_the_tree_has_a_branch_for_every_error_and_no_other() -> None:
    drawn = [branch[0] for branch in BRANCHES]
    assert len(drawn) == len(set(drawn)) == DRAWING.count("──")
    assert sorted(drawn) == sorted(CLASSES.keys() - {"PipeProxyError", "RemoteTraceback"})
    assert re.search(r"^ +PipeProxyError$", DRAWING, re.MULTILINE)


@each_branch
def test_an_error_has_the_bases_that_are_drawn(name: str, builtin: str | None) -> None:
    bases = (PipeProxyError, getattr(builtins, builtin)) if builtin else (PipeProxyError,)
    assert CLASSES[name].__bases__ == bases


def test_no_error_is_caught_with_the_errors_of_methods_by_mistake() -> None:
    assert PipeProxyError.__bases__ == (Exception,)
    assert RemoteTraceback.__bases__ == (Exception,)


def test_the_errors_that_are_the_users_own_are_told_apart() -> None:
    own = {name for name, _, meaning in BRANCHES if meaning.startswith("you: ")}
    assert own == {"SpecError", "NotExposed", "CodecError", "Released"}


def test_every_error_is_public_in_both_places() -> None:
    assert sorted(errors.__all__) == errors.__all__ == sorted(CLASSES)
    for name, cls in CLASSES.items():
        assert name in pipeproxy.__all__
        assert getattr(pipeproxy, name) is cls


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_every_error_says_in_its_docstring_what_it_means(cls: type[BaseException]) -> None:
    assert cls.__doc__
    assert cls.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_error_survives_pickling(cls: type[BaseException], protocol: int) -> None:
    error = make(cls)
    for arrived in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(arrived) is cls
        assert (arrived.args, str(arrived)) == (error.args, str(error))
        assert vars(arrived) == vars(error)


def test_a_remote_error_shows_what_could_not_be_rebuilt() -> None:
    error = RemoteError("bank.Overdrawn", "by 5")
    assert (error.type_name, error.message) == ("bank.Overdrawn", "by 5")
    assert str(error) == "bank.Overdrawn: by 5"


def test_a_remote_traceback_stands_on_lines_of_its_own() -> None:
    error = RemoteTraceback("Traceback in process 7\nValueError: no\n")
    assert error.text == "Traceback in process 7\nValueError: no\n"
    assert str(error) == "\nTraceback in process 7\nValueError: no\n"
