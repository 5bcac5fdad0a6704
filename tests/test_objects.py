"""The owner's memory: one section an object, and nothing kept for who gave it back or died."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pipeproxy._objects._clients import Client
from pipeproxy._objects._faces import face_of
from pipeproxy._objects._objects import Objects
from pipeproxy._objects._subjects import Shared
from pipeproxy.errors import Released

from .support import PATIENCE, in_fork, interrupt


class Account:
    """Equal to all others, so that only identity can tell them apart."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account)

    def __hash__(self) -> int:
        return 0


def share(objects: Objects, account: Account, holder: Any = None) -> Shared:
    shared = Shared(account, face_of(account))
    return objects.add(shared) if holder is None else objects.lend(shared, *holder)


def test_objects_are_told_apart_by_identity() -> None:
    objects = Objects()
    one, equal = Account(), Account()
    shared = share(objects, one)
    assert objects.of(one) is shared
    assert objects.of(equal) is None
    assert share(objects, equal).number != shared.number


def test_an_object_that_is_shared_twice_has_one_number_and_one_section() -> None:
    objects, account = Objects(), Account()
    first = share(objects, account)
    assert share(objects, account) is first
    assert share(objects, account, (Client(None), 1)) is first
    assert len(objects) == 1


def test_what_is_shared_for_good_is_released_by_nobody() -> None:
    objects, client = Objects(), Client(None)
    objects.clients[b"token"] = client
    account = Account()
    shared = share(objects, account)
    share(objects, account, (client, 1))
    objects.release(client, [(1, shared.number), (1, 0), (2, shared.number)])
    objects.forget(b"token")
    assert objects.find(shared.number) is shared


def test_what_is_released_is_not_kept_alive_and_cannot_be_found() -> None:
    objects, client = Objects(), Client(None)
    shared = share(objects, Account(), (client, 5))
    number, target = shared.number, weakref.ref(shared.target)
    objects.release(client, [(5, number), (5, number), (5, 12345), (6, number)])
    del shared
    gc.collect()
    assert target() is None
    assert len(objects) == 0
    assert client.held == {}
    with pytest.raises(Released, match=f"object {number} was given back, or never shared here"):
        objects.find(number)


def test_an_object_lives_until_the_last_that_holds_it_gives_it_up() -> None:
    objects, account = Objects(), Account()
    one, other = Client(None), Client(None)
    number = share(objects, account, (one, 1)).number
    share(objects, account, (one, 2))
    share(objects, account, (other, 1))
    proxy = object()
    objects.add(objects.find(number), proxy)
    objects.release(one, [(1, number), (3, number)])
    objects.release(other, [(1, 0)])
    objects.drop(number, proxy)
    assert objects.find(number).target is account
    objects.drop(number, object())
    objects.release(one, [(2, number)])
    assert len(objects) == 0


def test_a_claim_is_heard_once_and_not_after_its_release() -> None:
    objects, client = Objects(), Client(None)
    shared = share(objects, Account())
    for _ in range(2):
        objects.claim(client, [(7, shared.number), (9, 999)])
        objects.release(client, [(8, shared.number)])
    assert client.held == {7: {shared.number}}
    objects.release(client, [(7, shared.number)])
    objects.claim(client, [(7, shared.number), (8, shared.number)])
    assert client.held == {}


def test_what_a_client_does_not_want_before_it_is_lent_is_taken_back() -> None:
    objects, client = Objects(), Client(None)
    objects.release(client, [(5, 0)])
    share(objects, Account(), (client, 5))
    objects.settle(client, 5)
    assert len(objects) == 0
    share(objects, Account(), (client, 6))
    objects.settle(client, 6)
    assert list(client.held) == [6]


def test_a_client_that_is_dead_holds_nothing_that_is_lent_or_claimed_later() -> None:
    objects, client = Objects(), Client(None)
    objects.clients[b"token"] = client
    shared = share(objects, Account())
    objects.forget(b"token")
    share(objects, Account(), (client, 5))
    objects.settle(client, 5)
    objects.claim(client, [(6, shared.number)])
    assert client.held == {}
    assert [each.number for each in objects] == [shared.number]


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
        found.append([share(objects, account).number for account in accounts])

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
            pairs = [
                (ident, share(objects, account, (client, ident)).number)
                for ident, account in enumerate(accounts, 1)
            ]
            objects.claim(client, [(ident + 100, number) for ident, number in pairs])
            objects.release(client, pairs)
            objects.release(client, [(ident + 100, 0) for ident, _ in pairs])

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


NUMBERS = st.integers(0, 30)
IDENTS = st.integers(1, 4)


class Memory(RuleBasedStateMachine):
    """Objects against a plain model: who holds each of them, and by which idents."""

    clients = Bundle("clients")
    accounts = Bundle("accounts")

    def __init__(self) -> None:
        super().__init__()
        self.objects = Objects()
        #: By token, pairs of ident and target.
        self.held: dict[bytes, set[tuple[int, Account]]] = {}
        self.gone: dict[bytes, set[int]] = {}
        self.for_good: set[Account] = set()
        self.proxies: dict[object, Account] = {}
        self.numbers: dict[int, Account] = {}

    def _seen(self, target: Account, shared: Shared) -> None:
        assert shared.target is target
        assert self.numbers.setdefault(shared.number, target) is target, "a number was used twice"

    def _target(self, nth: int) -> tuple[int, Account | None]:
        """Return the nth number that was ever used, and its object while that is shared."""
        number = sorted(self.numbers)[nth] if nth < len(self.numbers) else 10**9 + nth
        target = self.numbers.get(number)
        alive = target is not None and self.objects.of(target)
        return number, target if alive and alive.number == number else None

    @rule(target=clients)
    def meet(self) -> bytes:
        token = b"token %d" % len(self.held)
        self.objects.clients[token] = Client(None)
        self.held[token], self.gone[token] = set(), set()
        return token

    @rule(target=accounts)
    def make(self) -> Account:
        return Same()

    @rule(account=accounts)
    def share(self, account: Account) -> None:
        self._seen(account, share(self.objects, account))
        self.for_good.add(account)

    @rule(account=accounts)
    def make_proxy(self, account: Account) -> None:
        proxy = object()
        self._seen(account, self.objects.add(Shared(account, face_of(account)), proxy))
        self.proxies[proxy] = account

    @rule(nth=NUMBERS)
    def drop_proxy(self, nth: int) -> None:
        for proxy, account in list(self.proxies.items())[nth : nth + 1]:
            shared = self.objects.of(account)
            assert shared is not None
            self.objects.drop(shared.number, proxy)
            del self.proxies[proxy]

    @rule(token=clients, ident=IDENTS, accounts=st.lists(accounts))
    def reply(self, token: bytes, ident: int, accounts: list[Account]) -> None:
        """Lend, and then settle, as with every reply."""
        if token in self.objects.clients:
            client = self.objects.clients[token]
            for account in accounts:
                self._seen(account, share(self.objects, account, (client, ident)))
            self.objects.settle(client, ident)
            self.held[token] |= {(ident, account) for account in accounts}
            if ident in self.gone[token]:
                self._give_up(token, ident)

    def _give_up(self, token: bytes, ident: int, account: Account | None = None) -> None:
        self.held[token] = {
            (of, held)
            for of, held in self.held[token]
            if of != ident or (account is not None and held is not account)
        }
        if ident not in {of for of, _ in self.held[token]}:
            self.gone[token].add(ident)

    @rule(token=clients, ident=IDENTS, nth=NUMBERS)
    def claim(self, token: bytes, ident: int, nth: int) -> None:
        if token in self.objects.clients:
            number, target = self._target(nth)
            self.objects.claim(self.objects.clients[token], [(ident, number)])
            if target is not None and ident not in self.gone[token]:
                self.held[token].add((ident, target))

    @rule(token=clients, ident=IDENTS, nth=NUMBERS)
    def release(self, token: bytes, ident: int, nth: int) -> None:
        if token in self.objects.clients:
            number, target = self._target(nth)
            self.objects.release(self.objects.clients[token], [(ident, number)])
            self._give_up(token, ident, target or Account())

    @rule(token=clients, ident=IDENTS)
    def abandon(self, token: bytes, ident: int) -> None:
        """Want nothing of what came with a reply, or, if nothing came, of what will."""
        if token in self.objects.clients:
            self.objects.release(self.objects.clients[token], [(ident, 0)])
            self._give_up(token, ident)

    @rule(token=clients)
    def forget(self, token: bytes) -> None:
        self.objects.forget(token)
        self.held[token] = set()

    @invariant()
    def exactly_what_somebody_holds_is_there(self) -> None:
        held = {account for pairs in self.held.values() for _, account in pairs}
        alive = self.for_good | held | set(self.proxies.values())
        assert {shared.target for shared in self.objects} == alive
        assert len(self.objects) == len(alive)
        for number, target in self.numbers.items():
            shared = self.objects.of(target)
            assert (shared is not None) == (target in alive)
            if shared is None or shared.number != number:
                with pytest.raises(Released):
                    self.objects.find(number)
            else:
                assert self.objects.find(number) is shared
        for token, client in self.objects.clients.items():
            told = {(i, self.numbers[n]) for i, numbers in client.held.items() for n in numbers}
            assert told == self.held[token]
            assert all(client.held.values())
            assert set(client.gone) == self.gone[token]


class Same(Account):
    """Equal to itself only, so that the model can keep it in sets."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


test_objects_are_there_for_exactly_as_long_as_somebody_holds_them = Memory.TestCase
