"""A shared list and dict as the types that CPython's list and mapping tests are about.

Those tests make each list or dict by calling ``type2test``. Here that is a function that shares a
new one and returns its proxy, in one of these ways:

    home      the object lives in the process of the test
    away      it lives in another process
    managed   it is that of a `pipeproxy.managers.Manager`
    standard  it is that of a `multiprocessing.Manager`, for comparison
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, NamedTuple
from unittest import TestCase, TestResult, defaultTestLoader

from pipeproxy import Listener, by_reference, managers, spawn

Make = Callable[..., Any]

#: The tests of each type: the class that holds them, in a module of the `test` package.
CASES = {
    "list": ("test.list_tests", "CommonTest"),
    "dict": ("test.mapping_tests", "TestHashMappingProtocol"),
}
TYPES: dict[str, type[Any]] = {"list": list, "dict": dict}
OURS = ("home", "away", "managed")
ELSEWHERE = ("away", "managed")


class Reason(NamedTuple):
    """Why a test does not pass.

    Attributes:
        text: for people.
        possible: a proxy could run the test at all.
    """

    text: str
    possible: bool = False


SUBCLASS = Reason("subclasses the shared type")
LOCAL = Reason("hands over an object of a class, or a function, that only the test knows")
REPR = Reason("asks for the repr of the object, and gets that of the proxy")
SAME = Reason("asks that unpickling makes another object; it finds the proxy that is there")
INIT = Reason("calls __init__ of a proxy, which is the proxy's own", True)
COPY = Reason("asks that a copy is of the same class; that of a managed dict is a dict", True)
AHEAD = Reason("what is iterated over elsewhere is read ahead, up to the end", True)

#: The tests that do not pass, with the ways in which they do not.
EXCEPTIONS: dict[str, tuple[Reason, tuple[str, ...]]] = {
    "list.test_addmul": (SUBCLASS, OURS),
    "list.test_contains_order": (LOCAL, ELSEWHERE),
    "list.test_exhausted_iterator": (AHEAD, ELSEWHERE),
    "list.test_extend": (LOCAL, ELSEWHERE),
    "list.test_free_after_iterating": (SUBCLASS, OURS),
    "list.test_getitemoverwriteiter": (SUBCLASS, OURS),
    "list.test_index": (LOCAL, ELSEWHERE),
    "list.test_init": (INIT, OURS),
    "list.test_pickle": (SAME, OURS),
    "list.test_remove": (LOCAL, ELSEWHERE),
    "list.test_repr": (REPR, OURS),
    "list.test_repr_deep": (REPR, OURS),
    "list.test_sort": (LOCAL, ELSEWHERE),
    "dict.test_copy": (COPY, ("managed",)),
    "dict.test_eq": (LOCAL, ELSEWHERE),
    "dict.test_fromkeys": (SUBCLASS, OURS),
    "dict.test_getitem": (LOCAL, ELSEWHERE),
    "dict.test_pop": (LOCAL, ELSEWHERE),
    "dict.test_repr": (REPR, OURS),
    "dict.test_repr_deep": (REPR, OURS),
    "dict.test_setdefault": (LOCAL, ELSEWHERE),
    "dict.test_update": (LOCAL, ELSEWHERE),
}


def names_of(kind: str) -> list[str]:
    """Return the names of all tests of one type, in this version of Python."""
    return list(defaultTestLoader.getTestCaseNames(_case(kind)))


def exception(kind: str, way: str, name: str) -> Reason | None:
    """Return why a test does not pass, None if it has to."""
    reason, ways = EXCEPTIONS.get(f"{kind}.{name}", (None, ()))
    return reason if way in ways else None


def run(kind: str, name: str, make: Make) -> str | None:
    """Run one test; return what went wrong in it, None if nothing did."""
    members = {"type2test": _Type(TYPES[kind], make)}
    result = TestResult()
    type(_case(kind).__name__, (_case(kind),), members)(name).run(result)
    wrong = [text for _, text in result.errors + result.failures]
    assert result.testsRun == 1
    return "\n".join(wrong) or None


def _case(kind: str) -> type[TestCase]:
    module, name = CASES[kind]
    case: type[TestCase] = getattr(import_module(module), name)
    return case


class _Type:
    """What stands for the type that is tested: a call of it shares a new object of the type."""

    def __init__(self, original: type[Any], make: Make) -> None:
        self._original, self._make = original, make

    # What it is made of may be a generator, or of a class that only the test knows.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._make(self._original(*args, **kwargs))

    def fromkeys(self, *args: Any) -> Any:
        return self._make(self._original.fromkeys(*args))


# Ways ---------------------------------------------------------------------------------------------


class Workshop:
    """Makes objects in a process of its own."""

    @by_reference
    def keep(self, value: Any) -> Any:
        return value


@contextmanager
def way(name: str) -> Iterator[Make]:
    """Share in the way of this name: yield what shares one object."""
    with ExitStack() as stack:
        if name == "home":
            yield stack.enter_context(Listener()).share
        elif name == "away":
            workshop, host = spawn(Workshop)
            stack.enter_context(host)
            yield workshop.keep
        else:
            made: Any = managers.Manager() if name == "managed" else multiprocessing.Manager()
            manager = stack.enter_context(made)
            yield lambda value: getattr(manager, type(value).__name__)(value)
