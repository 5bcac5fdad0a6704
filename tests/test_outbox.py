"""What is sent is written in order and once, whoever writes it, and whatever interrupts that."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from pipeproxy._channels._wire import CALL, FROM_CLIENT, Decoder, header
from pipeproxy._client._asking import Pending
from pipeproxy._client._held import Holdings
from pipeproxy._client._lines import Line
from pipeproxy._client._outbox import Outbox
from pipeproxy.transports.pipe import open_pair

from .support import in_fork, interrupt

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Call(Pending):
    """Notes what it is told."""

    def __init__(self, ident: int, deadline: float | None = None, wanted: bool = True) -> None:
        self.ident = ident
        self.deadline = deadline
        self.wanted = wanted
        self.told: list[Any] = []

    def begin(self) -> bool:
        self.sent = self.sent or (self.wanted and not self.gone)
        return self.sent

    def settle(self, kind: int, payload: bytes | memoryview) -> None:
        self.told.append((kind, bytes(payload)))

    def fail(self, error: BaseException) -> None:
        self.told.append(type(error))

    def forked(self) -> None:
        self.told.append("forked")

    def frame(self, data: bytes = b"") -> bytes:
        return header(CALL, len(data), self.ident, 1, 5) + data


class Ends:
    """A client's line, and the owner's end of it."""

    def __init__(self) -> None:
        own, self.theirs = open_pair()
        self.line = Line(own, None, 0.0)
        self._decoder = Decoder(FROM_CLIENT)

    def read(self) -> bytes:
        """All that was written."""
        data = b""
        while part := self.theirs.read(1 << 20):
            data += part
        return data

    def idents(self) -> list[int]:
        """The calls that were written."""
        data = self.read()
        return [frame[1] for frame in self._decoder.feed(data)] if data else []

    def close(self) -> None:
        self.line.close()
        self.theirs.close()


class Scene(Ends):
    """An outbox, and who reads what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(self.line, Holdings())

    def put(self, *calls: Call, data: bytes = b"") -> None:
        self.outbox.waiting.extend((call.frame(data), call) for call in calls)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_a_call_that_is_not_wanted_is_not_written(scene: Scene) -> None:
    some = [Call(1), Call(2, wanted=False), Call(3)]
    scene.put(*some)
    scene.outbox.forget(some[2])
    scene.outbox.write()
    assert scene.idents() == [1]
    assert list(scene.outbox.pending) == [1]


def test_what_the_pipe_does_not_take_is_written_later(scene: Scene) -> None:
    scene.put(*map(Call, range(1, 101)), data=bytes(40_000))
    scene.outbox.write()
    assert scene.outbox.is_blocked
    written = []
    while scene.outbox.is_unsent():
        written += scene.idents()
        scene.outbox.write()
    assert [*written, *scene.idents()] == list(range(1, 101))
    assert not scene.outbox.is_blocked


def test_what_is_put_in_the_middle_of_a_write_is_written_after_it(scene: Scene) -> None:
    class Disturbed(Call):
        def begin(self) -> bool:
            scene.put(Call(self.ident + 10))
            scene.outbox.write()  # as a signal handler may
            assert scene.outbox.is_in_hand()
            return super().begin()

    scene.put(Disturbed(1), Disturbed(2))
    scene.outbox.write()
    assert not scene.outbox.is_in_hand()
    assert scene.idents() == [1, 2, 11, 12]


def test_interrupts_at_any_moment_lose_and_repeat_nothing() -> None:
    def client() -> None:
        scene = Scene()
        numbers = count(1)
        put: list[int] = []
        written: list[int] = []

        def act() -> None:
            for _ in range(20):
                number = next(numbers)
                scene.put(Call(number), data=bytes(number % 3000))
                put.append(number)
            scene.outbox.write()

        def settle() -> None:
            while scene.outbox.is_unsent():
                scene.outbox.write()
                written.extend(scene.idents())
            written.extend(scene.idents())

        raised = 0
        while raised < 200:
            raised += interrupt(act, prepare=settle, rounds=25, longest=300e-6)
        settle()
        assert written == sorted(set(written))
        assert set(put) <= set(written) == set(scene.outbox.pending)
        scene.close()

    in_fork(client)
