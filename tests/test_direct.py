"""Direct calls: one at a time, and who waits for another lets others be served."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeproxy import ListenerClosed
from pipeproxy._objects._faces import face_of
from pipeproxy._objects._subjects import Shared
from pipeproxy._references._direct import Direct, leave
from pipeproxy._references._openness import Openness
from pipeproxy._system._bell import Bell

from .support import PATIENCE


class Account:
    def __init__(self) -> None:
        self.balance = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance


DEPOSIT = face_of(Account()).members.numbers["deposit"]


class Turns:
    """Counts how often somebody waited, and does something instead."""

    def __init__(self) -> None:
        self.waited = 0
        self.meanwhile: Callable[[], object] = lambda: None

    def wait(self, bell: Bell, seconds: float | None, since: float) -> None:
        self.waited += 1
        self.meanwhile()

    def wake(self) -> None: ...


class Scene:
    def __init__(self) -> None:
        self.openness = Openness(0)
        self.turns = Turns()
        self.direct = Direct(self.openness, self.turns)
        self.shared = Shared(Account(), face_of(Account()))

    def deposit(self) -> Any:
        return self.direct.run(self.shared, DEPOSIT, (1,), None)


class Block:
    """What a section is entered for."""


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def held(scene: Scene) -> Iterator[Callable[[], None]]:
    """Another thread is in the section; called, it leaves that."""
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        block = Block()
        scene.direct.enter(scene.shared, 1, lambda: block)
        inside.set()
        assert go_on.wait(PATIENCE)
        leave(scene.shared.section, 1)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(PATIENCE)

    def let_go() -> None:
        go_on.set()
        thread.join(PATIENCE)

    yield let_go
    let_go()


def test_a_call_waits_for_who_is_in_the_section_and_lets_others_be_served(
    scene: Scene, held: Callable[[], None]
) -> None:
    def meanwhile() -> None:
        assert scene.shared.target.balance == 0
        if scene.turns.waited == 3:
            held()

    scene.turns.meanwhile = meanwhile
    assert scene.deposit() == 1
    assert scene.turns.waited == 3
    assert scene.shared.section.holder is None


def test_a_call_whose_listener_is_closed_as_it_waits_is_not_run_and_stands_in_line_no_more(
    scene: Scene, held: Callable[[], None]
) -> None:
    def close() -> None:
        if scene.openness.closed:
            held()
        scene.openness.closed = True

    scene.turns.meanwhile = close
    with pytest.raises(ListenerClosed):
        scene.deposit()
    assert not scene.shared.section.line
    held()
    assert scene.shared.target.balance == 0
    assert scene.shared.section.holder is None


def test_who_is_in_the_section_calls_without_waiting_and_enters_it_again(scene: Scene) -> None:
    blocks = [Block(), Block()]
    for number, block in enumerate(blocks):
        scene.direct.enter(scene.shared, number, lambda block=block: block)  # type: ignore[misc]
    assert scene.deposit() == 1
    leave(scene.shared.section, 0)
    assert scene.shared.section.holder is not None
    leave(scene.shared.section, 1)
    assert scene.shared.section.holder is None
    assert scene.turns.waited == 0
