"""What leaves with a reply: what of it travels by reference, and who holds that from then on."""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeproxy import CodecError, SpecError, by_reference, by_value, proxied, share, spawn
from pipeproxy._channels._door import Route
from pipeproxy._objects._clients import Client
from pipeproxy._objects._faces import face_of
from pipeproxy._objects._objects import Objects
from pipeproxy._objects._subjects import Shared
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._outgoing import Outgoing
from pipeproxy._references._streams import Source
from pipeproxy._specs._members import GET
from pipeproxy.codecs import pickle as codec

IDENT = 77


@proxied
class Account:
    def __init__(self, owner: str = "ada") -> None:
        self.owner = owner
        self.friends: list[Account] = []

    def use(self) -> None: ...


@proxied(by_ref=("notes",))
class Bank:
    notes: Any = None

    @by_reference
    def live(self) -> Any: ...

    def plain(self) -> Any: ...

    def __iter__(self) -> Any: ...


class Refusing:
    """Ends the process that pickles it, or would."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class References(pickle.Unpickler):
    """Reads what left, with what travels by reference as ("arrive" or "open_stream", number)."""

    def find_class(self, module: str, name: str) -> Any:
        if name in {"arrive", "open_stream"}:
            return lambda route, number, *rest: (name, number)
        return super().find_class(module, name)


class Scene:
    """An owner's memory and one client."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.client = self.objects.client(b"client")
        self.route = Route(os.urandom(16), b"process", 1, b"\0nowhere", b"secret", 0.0)
        self.bank = self.objects.add(Shared(Bank(), face_of(Bank())))

    def outgoing(self, client: Client | None = None) -> Outgoing:
        return Outgoing(tuple(self.route), self.objects, client or self.client, IDENT)

    def leave(self, value: object, name: str = "plain", *args: Any) -> Any:
        """Let a member return something; return what of it travelled."""
        number = GET if args else self.bank.members.numbers[name]
        answer = self.outgoing().encode(value, self.bank, number, args)
        return References(io.BytesIO(answer)).load()

    def held(self) -> set[int]:
        return self.client.held.get(IDENT, set())

    def targets(self) -> list[Any]:
        return [self.objects.find(number).target for number in sorted(self.held())]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_object_of_a_decorated_class_is_lent_wherever_it_is(scene: Scene) -> None:
    one, other = Account(), Account()
    left = scene.leave({"one": one, "list": [other, (one,)], "text": "text"})
    numbers = [scene.objects.of(account).number for account in (one, other)]  # type: ignore[union-attr]
    assert left == {
        "one": ("arrive", numbers[0]),
        "list": [("arrive", numbers[1]), (("arrive", numbers[0]),)],
        "text": "text",
    }
    assert scene.held() == set(numbers)


def test_what_is_shared_already_is_lent_as_that(scene: Scene) -> None:
    items = [1, 2]
    shared = scene.objects.add(Shared(items, face_of(items)))
    assert scene.leave(items) == ("arrive", shared.number)
    account = Account()
    number = scene.objects.add(Shared(account, face_of(account))).number
    assert scene.leave([account, [1, 2]]) == [("arrive", number), [1, 2]]
    assert scene.held() == {shared.number, number}


@pytest.mark.parametrize(
    "value", [[1], {}, threading.Lock(), print, lambda: None, io.StringIO()], ids=repr
)
def test_what_a_member_gives_by_reference_is_lent_whatever_it_is(scene: Scene, value: Any) -> None:
    assert scene.leave(value, "live")[0] == "arrive"
    assert scene.leave(value, "", "notes")[0] == "arrive"
    assert scene.targets() == [value]


@pytest.mark.parametrize("value", [None, 5, "text"])
def test_what_never_changes_is_sent_as_it_is_all_the_same(scene: Scene, value: Any) -> None:
    assert scene.leave(value, "live") == value
    assert scene.held() == set()


def test_what_is_said_to_travel_by_value_does(scene: Scene) -> None:
    account = Account()
    [left] = scene.leave([by_value(account)])
    assert (type(left), left.owner) == (Account, "ada")
    assert type(scene.leave(by_value(account), "live")) is Account
    shared = scene.objects.add(Shared(account, face_of(account)))
    assert type(scene.leave(by_value(account))) is Account
    assert scene.held() == set()
    assert scene.objects.find(shared.number)


def test_what_a_copy_holds_travels_as_ever(scene: Scene) -> None:
    account, friend = Account(), Account()
    account.friends.append(friend)
    left = scene.leave(by_value(account))
    assert left.friends == [("arrive", scene.objects.of(friend).number)]  # type: ignore[union-attr]


class Counting:
    """An iterator that is no generator and cannot be pickled."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> int:
        return 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: (n for n in [1]),
        lambda: iter([1]),
        lambda: map(str, [1]),
        lambda: enumerate([1]),
        Counting,
    ],
)
def test_an_iterator_stays_and_is_read_by_the_right_of_what_gave_it(
    scene: Scene, make: Callable[[], Iterator[Any]]
) -> None:
    items = make()
    kind, number = scene.leave(items)
    assert kind == "open_stream"
    shared = scene.objects.find(number)
    assert type(shared.target) is Source
    assert shared.target.items is items
    assert shared.section is scene.bank.section
    assert scene.held() == {number}


def test_an_iterator_that_is_met_twice_in_a_reply_is_one_stream(scene: Scene) -> None:
    items = iter([1])
    one, [other] = scene.leave((items, [items]))
    assert one == other
    assert len(scene.held()) == 1


def test_a_file_is_no_iterator_unless_it_was_asked_for_one(scene: Scene) -> None:
    file = open(os.devnull)  # noqa: SIM115 - closed below
    with file:
        with pytest.raises(CodecError, match="the result of Bank.plain"):
            scene.leave(file)
        assert scene.leave(file, "__iter__")[0] == "open_stream"


def test_a_proxy_is_passed_on_as_what_it_stands_for(scene: Scene) -> None:
    account = Account()
    proxy, listener = share(account)
    remote, host = spawn(Account)
    with listener, host:
        for each in (proxy, remote):
            kind, number = scene.leave(each)
            assert (kind, number) == ("arrive", link_of(each).number)
    assert scene.held() == set()  # it is the other listener's


def test_an_exception_lends_what_it_holds(scene: Scene) -> None:
    account = Account()
    error = ValueError("no", account)
    answer = scene.outgoing().encode_failure(error, "Bank.plain")
    assert scene.targets() == [account]
    # Whoever reads it, in this process or another, gets something in its place.
    assert account not in codec.decode_failure(answer).args[1:]


# What does not travel ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3), MemoryError()], ids=repr
)
def test_nothing_stays_lent_of_a_result_that_does_not_travel(
    scene: Scene, error: BaseException
) -> None:
    account, items = Account(), iter([1])
    outgoing = scene.outgoing()
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of either kind
        outgoing.encode(
            [account, items, Refusing(error)], scene.bank, scene.bank.members.numbers["plain"], ()
        )
    outgoing.encode_failure(caught.value, "Bank.plain")
    assert scene.held() == set()
    assert list(scene.objects) == [scene.bank]


def test_nothing_stays_lent_of_an_exception_that_does_not_travel(scene: Scene) -> None:
    class Wild(Exception):
        @property
        def args(self) -> Any:
            raise KeyboardInterrupt

        @args.setter
        def args(self, value: object) -> None: ...

    error = Wild()
    error.account = Account()  # type: ignore[attr-defined]
    error.__cause__ = ValueError(Account())
    scene.outgoing().encode_failure(error, "Bank.plain")
    kept = scene.held()
    assert len(kept) <= 2  # no more than what the text of it needed
    scene.outgoing().take_back()
    assert scene.held() == set()


@pytest.mark.parametrize("dead", [True, False])
def test_what_nobody_wants_is_taken_back_at_once(scene: Scene, dead: bool) -> None:
    if dead:
        scene.objects.forget(b"client")
    else:
        scene.objects.release(scene.client, [(IDENT, 0)])
    scene.leave([Account(), iter([1])])
    scene.outgoing().encode_failure(ValueError(Account()), "Bank.plain")
    assert scene.held() == set()
    assert len(scene.objects) == 1


def test_what_cannot_be_shared_is_told_as_the_results_fault(scene: Scene) -> None:
    with pytest.raises(CodecError, match="the result of Bank.live") as caught:
        scene.leave(io, "live")
    assert isinstance(caught.value.__cause__, SpecError)
