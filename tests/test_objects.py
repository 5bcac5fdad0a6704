"""The owner's memory: one section an object, and nothing kept for who gave it back or died."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pipeproxy import exposed, hidden, proxied
from pipeproxy._members import DELETE, FIRST_METHOD, GET, SET, Members
from pipeproxy._objects import Client, Objects, Shared
from pipeproxy._spec import describe
from pipeproxy.errors import NotExposed, Released

from .support import PATIENCE, in_fork, interrupt


@proxied(readonly=("limit",))
class Account:
    """Equal to all others, so that only identity can tell them apart."""

    fee = 1
    limit = 0

    def __init__(self, balance: int = 0) -> None:
        self.balance = balance
        self._secret = "shh"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account)

    def __hash__(self) -> int:
        return 0

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


MEMBERS = Members(describe(Account).plain)
NUMBER = MEMBERS.numbers


@pytest.fixture
def shared() -> Shared:
    return Shared(1, Account(100), MEMBERS)


# Calls --------------------------------------------------------------------------------------------


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
    assert shared.iterating == {NUMBER["__iter__"], NUMBER["__reversed__"]}


# Sections -----------------------------------------------------------------------------------------


# Objects ------------------------------------------------------------------------------------------


def test_objects_are_told_apart_by_identity() -> None:
    objects = Objects()
    one, equal = Account(), Account()
    shared = objects.add(one, MEMBERS)
    assert objects.of(one) is shared
    assert objects.of(equal) is None
    assert objects.add(equal, MEMBERS).number != shared.number


def test_an_object_that_is_shared_twice_has_one_number_and_one_section() -> None:
    objects, account = Objects(), Account()
    first = objects.add(account, MEMBERS)
    assert objects.add(account, MEMBERS) is first
    assert len(objects) == 1


def test_what_is_shared_for_good_is_released_by_nobody() -> None:
    objects, client = Objects(), Client(None)
    objects.clients[b"token"] = client
    shared = objects.add(Account(), MEMBERS)
    objects.release(client, [shared.number])
    objects.forget(b"token")
    assert objects.find(shared.number) is shared


def test_what_is_released_is_not_kept_alive_and_cannot_be_found() -> None:
    objects, client = Objects(), Client(None)
    shared = objects.add(Account(), MEMBERS, client)
    number, target = shared.number, weakref.ref(shared.target)
    objects.release(client, [number, number, 12345])
    del shared
    gc.collect()
    assert target() is None
    assert len(objects) == 0
    assert client.held == set()
    with pytest.raises(Released, match=f"object {number} was given back, or never shared here"):
        objects.find(number)


@pytest.mark.parametrize("number", [0, 1, 2**64 - 1])
def test_what_was_never_shared_cannot_be_found(number: int) -> None:
    with pytest.raises(Released):
        Objects().find(number)


def test_a_process_that_is_forgotten_twice_or_unknown_is_no_error() -> None:
    objects = Objects()
    objects.clients[b"token"] = Client(None)
    for _ in range(2):
        objects.forget(b"token")
    assert objects.clients == {}


def test_threads_that_share_one_object_at_a_time_share_one() -> None:
    objects, accounts = Objects(), [Account() for _ in range(200)]
    together = threading.Barrier(4)
    found: list[list[int]] = []

    def share_all() -> None:
        together.wait(PATIENCE)
        found.append([objects.add(account, MEMBERS).number for account in accounts])

    threads = [threading.Thread(target=share_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 4
    assert len(objects) == len(accounts)


def test_an_interrupt_leaves_no_object_half_shared_and_none_that_is_never_released() -> None:
    def interrupted() -> None:
        objects, client = Objects(), Client(None)
        objects.clients[b"token"] = client
        accounts = [Account() for _ in range(8)]

        def share_and_release() -> None:
            numbers = [objects.add(account, MEMBERS, client).number for account in accounts]
            objects.release(client, numbers)

        def check() -> None:
            for account in accounts:
                shared = objects.of(account)
                assert shared is None or objects.find(shared.number) is shared

        assert interrupt(share_and_release, rounds=2000, prepare=check, longest=40e-6) > 50
        check()
        objects.forget(b"token")
        assert [shared.number for shared in objects] == []
        assert not any(map(objects.of, accounts))

    in_fork(interrupted)


class Memory(RuleBasedStateMachine):
    """Objects against a plain model: which numbers exist, and for whom."""

    clients = Bundle("clients")

    def __init__(self) -> None:
        super().__init__()
        self.objects = Objects()
        self.held: dict[bytes, set[int]] = {}
        self.for_good: set[int] = set()
        self.ever: set[int] = set()
        self.targets: dict[int, Account] = {}

    def _added(self, target: Account, shared: Shared) -> int:
        assert shared.number not in self.ever, "a number was used twice"
        assert shared.target is target
        self.ever.add(shared.number)
        self.targets[shared.number] = target
        return shared.number

    @rule(target=clients)
    def meet(self) -> bytes:
        token = b"token %d" % len(self.held)
        self.objects.clients[token] = Client(None)
        self.held[token] = set()
        return token

    @rule()
    def share(self) -> None:
        target = Account()
        self.for_good.add(self._added(target, self.objects.add(target, MEMBERS)))

    @rule(token=clients)
    def lend(self, token: bytes) -> None:
        if token in self.objects.clients:
            target, client = Account(), self.objects.clients[token]
            self.held[token].add(self._added(target, self.objects.add(target, MEMBERS, client)))

    @rule(token=clients, numbers=st.lists(st.integers(0, 30)))
    def release(self, token: bytes, numbers: list[int]) -> None:
        if token in self.objects.clients:
            self.objects.release(self.objects.clients[token], numbers)
            self.held[token] -= set(numbers)

    @rule(token=clients)
    def forget(self, token: bytes) -> None:
        self.objects.forget(token)
        self.held[token] = set()

    @invariant()
    def exactly_what_somebody_holds_is_there(self) -> None:
        alive = self.for_good.union(*self.held.values())
        assert {shared.number for shared in self.objects} == alive
        assert len(self.objects) == len(alive)
        for number, target in self.targets.items():
            shared = self.objects.of(target)
            assert (shared is not None) == (number in alive)
            if shared is not None:
                assert self.objects.find(number) is shared
        for token, client in self.objects.clients.items():
            assert client.held == self.held[token]


test_objects_are_there_for_exactly_as_long_as_somebody_holds_them = Memory.TestCase
