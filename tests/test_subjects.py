"""Subjects: a call does what the spec of the class shows, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from pipeproxy import exposed, hidden, proxied
from pipeproxy._objects._faces import face_of
from pipeproxy._objects._subjects import Shared
from pipeproxy._specs._members import DELETE, FIRST_METHOD, GET, SET
from pipeproxy.errors import NotExposed


@proxied(readonly=("limit",))
class Account:
    fee = 1
    limit = 0

    def __init__(self, balance: int = 0) -> None:
        self.balance = balance
        self._secret = "shh"

    def __iter__(self) -> Any:
        return iter(range(self.balance))

    def __reversed__(self) -> Any:
        return reversed(range(self.balance))

    def deposit(self, amount: int, *, times: int = 1) -> int:
        self.balance += amount * times
        return self.balance

    def fail(self) -> None:
        raise KeyError("no")

    @hidden
    def audit(self) -> None: ...

    @exposed
    def _close(self) -> str:
        return "closed"


NUMBER = face_of(Account()).members.numbers


@pytest.fixture
def shared() -> Shared:
    account = Account(100)
    return Shared(account, face_of(account))


def test_a_call_reaches_the_method_with_all_its_arguments(shared: Shared) -> None:
    assert shared.call(NUMBER["deposit"], (5,), None) == 105
    assert shared.call(NUMBER["deposit"], (5,), {"times": 2}) == 115
    assert shared.call(NUMBER["_close"], (), {}) == "closed"
    with pytest.raises(KeyError, match="no"):
        shared.call(NUMBER["fail"], (), None)
    assert shared.target.balance == 115


def test_attributes_are_read_set_and_deleted_on_the_object(shared: Shared) -> None:
    assert shared.call(GET, ("balance",), None) == 100
    assert shared.call(SET, ("balance", 7), None) is None
    assert shared.target.balance == 7
    assert shared.call(SET, ("new", None), None) is None
    assert shared.target.new is None
    assert shared.call(DELETE, ("new",), None) is None
    assert not hasattr(shared.target, "new")
    assert shared.call(GET, ("limit",), None) == 0
    with pytest.raises(AttributeError, match="new"):
        shared.call(GET, ("new",), None)


@pytest.mark.parametrize(
    ("member", "args"),
    [
        (GET, ("_secret",)),
        (GET, ("__dict__",)),
        (GET, ("__class__",)),
        (GET, ("audit",)),
        (GET, ("deposit",)),
        (GET, (5,)),
        (GET, (None,)),
        (SET, ("_secret", 1)),
        (SET, ("__class__", int)),
        (SET, ("deposit", 1)),
        (SET, ("limit", 1)),
        (DELETE, ("limit",)),
        (DELETE, ("_secret",)),
        (FIRST_METHOD + len(NUMBER), ()),
        (2**16 - 1, ()),
    ],
)
def test_what_the_spec_does_not_show_is_refused_whatever_arrives(
    shared: Shared, member: int, args: tuple[Any, ...]
) -> None:
    before = dict(vars(shared.target))
    with pytest.raises(NotExposed):
        shared.call(member, args, None)
    assert vars(shared.target) == before
    assert vars(Account)["limit"] == 0


@pytest.mark.parametrize("args", [(), ("balance", 1, 2)])
@pytest.mark.parametrize("member", [GET, SET, DELETE])
def test_an_attribute_is_not_reached_with_too_few_or_many_arguments(
    shared: Shared, member: int, args: tuple[Any, ...]
) -> None:
    with pytest.raises(TypeError):
        shared.call(member, args, None)
    assert shared.target.balance == 100


def test_calls_are_counted_by_member(shared: Shared) -> None:
    for _ in range(3):
        shared.call(NUMBER["deposit"], (1,), None)
    shared.call(GET, ("balance",), None)
    with pytest.raises(KeyError):
        shared.call(NUMBER["fail"], (), None)
    counted = {number: count for number, count in enumerate(shared.counts) if count}
    assert counted == {NUMBER["deposit"]: 3, GET: 1, NUMBER["fail"]: 1}


def test_only_members_that_iterate_are_known_to(shared: Shared) -> None:
    assert shared.face.iterating == {NUMBER["__iter__"], NUMBER["__reversed__"]}
