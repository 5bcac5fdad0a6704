"""What an object shows and how it is treated, by its class; what cannot be shared is told why."""

from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from pipeproxy import SpecError, by_reference, proxied, share
from pipeproxy._objects._faces import face_of, travels_alive
from pipeproxy._specs._members import FIRST_METHOD, GET, SET


@proxied(by_ref=("find", "inner"))
class Bank:
    def __init__(self) -> None:
        self.inner = [1]
        self.outer = [2]

    def find(self) -> list[int]:
        return self.inner

    @by_reference
    def lock(self) -> Any:
        return threading.Lock()

    def copy(self) -> list[int]:
        return self.inner

    def __iter__(self) -> Iterator[int]:
        return iter(self.inner)

    def __reversed__(self) -> Iterator[int]:
        return reversed(self.inner)


class Branch(Bank):
    def copy(self) -> list[int]:
        return [*self.inner]


class Undecorated:
    def use(self) -> None: ...


def test_objects_of_a_class_share_its_face() -> None:
    assert face_of(Bank()) is face_of(Bank())
    assert face_of(Branch()) is not face_of(Bank())
    assert face_of(Branch()).members.class_name == "Branch"


@pytest.mark.parametrize("bank", [Bank(), Branch()])
def test_results_that_travel_by_reference_are_known_by_their_members(bank: Bank) -> None:
    face = face_of(bank)
    numbers = face.members.numbers
    live = {name for name, number in numbers.items() if face.is_live(number, ())}
    assert live == {"find", "lock"}
    assert face.is_live(GET, ("inner",))
    assert not face.is_live(GET, ("outer",))
    assert not face.is_live(SET, ("inner", 1))


def test_what_gives_iterators_is_known() -> None:
    face = face_of(Bank())
    numbers = face.members.numbers
    assert face.iterating == {numbers["__iter__"], numbers["__reversed__"]}
    assert min(face.iterating) >= FIRST_METHOD
    assert face_of(Undecorated()).iterating == frozenset()


def test_objects_of_decorated_classes_travel_alive_and_no_others() -> None:
    assert travels_alive(Bank())
    assert travels_alive(Branch())
    for value in (Undecorated(), Bank, [Bank()], None, 5):
        assert not travels_alive(value)


def test_a_class_that_is_decorated_late_travels_alive_from_then_on() -> None:
    class Late:
        def use(self) -> None: ...

    class Later(Late): ...

    assert not travels_alive(Later())
    proxied(Late)
    assert travels_alive(Later())


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (5, "never changes"),
        ("text", "never changes"),
        (None, "never changes"),
        (math, "module math cannot be shared"),
        (Undecorated, "Undecorated is a class"),
    ],
    ids=repr,
)
def test_what_cannot_be_shared_is_told_why(value: object, why: str) -> None:
    for _ in range(2):
        with pytest.raises(SpecError, match=why):
            face_of(value)


def test_a_proxy_is_not_shared_a_second_time() -> None:
    proxy, listener = share(Bank())
    with listener, pytest.raises(SpecError, match="is a proxy already"):
        face_of(proxy)


def test_no_class_is_kept_alive_by_its_face() -> None:
    def make() -> weakref.ref[Any]:
        @proxied
        class Short:
            def use(self) -> None: ...

        assert face_of(Short()).members.class_name.endswith("Short")
        assert travels_alive(Short())
        return weakref.ref(Short)

    made = make()
    gc.collect()
    assert made() is None
