"""A proxy is of the class of its object where that class is known, and works where it is not."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeproxy import share
from tests.children import ROOT, run_program
from tests.support import PATIENCE

from .conftest import Elsewhere
from .subjects import Account, Box, Derived, Failing, IntBox, Point


def is_of(proxy: Any, cls: type[Any]) -> tuple[bool, bool, bool]:
    return isinstance(proxy, cls), proxy.__class__ is cls, type(proxy) is cls


@pytest.mark.parametrize("make", [Account, Derived, lambda: IntBox(1), lambda: Point(1)])
def test_a_proxy_is_an_instance_of_the_class(make: Any, elsewhere: Elsewhere) -> None:
    target = make()
    proxy, listener = share(target)
    with listener:
        assert is_of(proxy, type(target)) == (True, True, False)
        assert elsewhere.run(None, is_of, proxy, type(target)) == (True, True, False)


def it_returns_itself(account: Any) -> tuple[Any, ...]:
    again = account.me()
    return again == account, again is account, hash(again) == hash(account), type(again).__name__


def test_what_returns_itself_arrives_as_a_proxy_that_equals(elsewhere: Elsewhere) -> None:
    target = Account()
    proxy, listener = share(target)
    with listener:
        assert elsewhere.run(listener, it_returns_itself, proxy)[0::2] == (True, True)
        assert elsewhere.run(listener, it_returns_itself, proxy)[3] == "AccountProxy"
        assert proxy.me() == proxy
        assert proxy.me() is not target


def give_and_take(accounts: Any, first: Any, second: Any) -> tuple[Any, ...]:
    accounts.put({"a": first, "b": [second]})
    back = accounts.get()
    back["a"].deposit(1)
    return back["a"] == first, back["b"][0] == second, first == second, first.is_in([second, first])


def test_proxies_travel_inside_arguments_and_results(elsewhere: Elsewhere) -> None:
    target = Box(None)
    proxy, listener = share(target)
    ada, bob = Account("ada"), Account("bob")
    with listener:
        shared = listener.share(ada), listener.share(bob)
        seen = elsewhere.run(listener, give_and_take, proxy, *shared)
    assert seen == (True, True, False, [False, True])
    assert target.value["a"] is ada
    assert target.value["b"][0] is bob
    assert (ada.balance, bob.balance) == (101, 100)


def send_back(proxy: Any) -> Any:
    return proxy


def test_a_proxy_that_comes_home_by_a_pickle_calls_the_object_directly(
    elsewhere: Elsewhere,
) -> None:
    target = Account()
    proxy, listener = share(target)
    with listener:
        back = elsewhere.run(None, send_back, proxy)
        assert back == proxy
        back.deposit(5)
        back.balance += 1
    assert target.balance == 106


def two_kinds(first: Any, second: Any) -> tuple[Any, ...]:
    return first.name(), second.name(), isinstance(first, Account), hasattr(first, "extra")


def test_a_class_made_in_a_function_is_shared_too(elsewhere: Elsewhere) -> None:
    class Made:
        def name(self) -> str:
            return "made"

    proxy, listener = share(Made())
    with listener:
        other = listener.share(Derived())
        seen = elsewhere.run(listener, two_kinds, proxy, other)
        assert isinstance(proxy, Made)
    assert seen == ("made", Derived().name(), False, False)


# A process that has nothing but pipeproxy --------------------------------------------------------

STRANGER = """
import pickle, sys
from pipeproxy import CodecError, RemoteError

account, failing, box = pickle.loads(bytes.fromhex(sys.argv[1]))
assert account.deposit(5) == (105, "cash")
account.balance += 1
assert account.balance == 106
assert account.me() == account
assert type(account).__name__ == "AccountProxy" and isinstance(account, type(account))
assert account.__class__ is type(account)
try:
    failing.custom()
except RemoteError as error:
    assert (error.type_name, error.message) == (sys.argv[2] + ".Broken", "the door is broken")
else:
    raise AssertionError("it raised nothing")
try:
    box.get()
except CodecError as error:
    assert "No module named 'tests'" in str(error), error
else:
    raise AssertionError("it arrived")
assert account.deposit(1) == (107, "cash")
assert not [name for name in sys.modules if name.startswith(("tests", "attr", "numpy"))]
"""


def test_a_process_without_the_class_can_use_the_object(tmp_path: Path) -> None:
    # Not the checkout itself, where it would find the tests; and -S leaves out what is installed.
    (tmp_path / "pipeproxy").symlink_to(ROOT / "pipeproxy")
    target = Account()
    proxy, listener = share(target)
    with listener:
        shared = (proxy, listener.share(Failing()), listener.share(Box(Point(1))))
        with listener.background():
            done = subprocess.run(
                [sys.executable, "-S", "-W", "error", "-c", STRANGER]
                + [pickle.dumps(shared).hex(), Account.__module__],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
    assert (done.stderr, done.returncode) == ("", 0)
    assert target.balance == 107


NOT_IMPORTED = """
import pickle, sys
account = pickle.loads(bytes.fromhex(sys.argv[1]))
assert not isinstance(account, int)
assert account.__class__ is type(account)
assert account.deposit(5) == (105, "cash")
assert not [name for name in sys.modules if name.startswith("tests")]
from tests.conformance.subjects import Account
assert isinstance(account, Account) and account.__class__ is Account
"""


def test_a_proxy_imports_no_class_and_knows_it_once_it_is_there() -> None:
    proxy, listener = share(Account())
    with listener, listener.background():
        done = run_program(NOT_IMPORTED, pickle.dumps(proxy).hex())
    assert (done.stderr, done.returncode) == ("", 0)
