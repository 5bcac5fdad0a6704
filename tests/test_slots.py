"""The sequence lock: whatever the writer has done so far, a reader reads no torn value.

Every step of a writer and of a reader is made one by one here, in every order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from pipeproxy._system import _slots
from pipeproxy._system._slots import ROOM, SIZE, Slot, find, key_of

KEY = key_of(7, 1)


def memory(slots: int = 1) -> memoryview:
    return memoryview(bytearray(slots * SIZE))


def value(number: int, size: int = 20) -> bytes:
    """What is torn from two of these is none of them."""
    return bytes([number]) * size


class Stepped:
    """A slot whose every load and store goes through `step` first, the body's byte by byte."""

    def __init__(self, step: Callable[[], object]) -> None:
        self.slot = Slot(memory(), 0)
        self.step = step
        self.word, self.body = self.slot.word, self.slot._body
        self.slot.word = self.slot._body = self

    def __getitem__(self, key: Any) -> int:
        self.step()
        return int(self.word[key])

    def __setitem__(self, key: Any, data: Any) -> None:
        if key == ():
            self.step()
            self.word[key] = data
        else:
            for place, byte in enumerate(data):
                self.step()
                self.body[place] = byte

    def __bytes__(self) -> bytes:
        found = bytearray(len(self.body))
        for place in range(len(self.body)):
            if place % 8 == 0:
                self.step()
            found[place] = self.body[place]
        return bytes(found)


@pytest.fixture(autouse=True)
def _few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slots, "_PATIENCE", 3)


@pytest.fixture(params=["with checksums", "by versions alone"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stores and loads keep their order, the versions are enough."""
    if request.param == "by versions alone":
        monkeypatch.setattr(_slots, "_checksum", lambda *_: 0)


def plain(stepped: Stepped) -> Slot:
    """The same slot, as the other side has it."""
    slot = Slot(memory(), 0)
    slot.word, slot._body = stepped.word, stepped.body
    return slot


@pytest.mark.usefixtures("_either_way")
def test_a_reader_between_any_two_steps_of_the_writer_reads_no_torn_value() -> None:
    seen: list[Any] = []
    stepped = Stepped(lambda: None)
    reader = plain(stepped)
    stepped.slot.write(KEY, value(1))
    stepped.step = lambda: seen.append(reader.read(KEY))
    stepped.slot.write(KEY, value(2, 30))
    seen.append(reader.read(KEY))
    assert seen[:2] == [(2, value(1))] * 2, "nothing is written yet"
    assert seen[2:-1] == [None] * (len(seen) - 3), "it is being written"
    assert seen[-1] == (4, value(2, 30))
    assert len(seen) > 40


@pytest.mark.usefixtures("_either_way")
def test_a_writer_between_any_two_steps_of_a_reader_tears_nothing() -> None:
    def read(at: int, writes: int) -> Any:
        steps = itertools.count()

        def step() -> None:
            if next(steps) == at:
                for number in range(writes):
                    writer.write(KEY, value(2 + number, 30))

        stepped = Stepped(lambda: None)
        writer = plain(stepped)
        writer.write(KEY, value(1))
        stepped.step = step
        return stepped.slot.read(KEY), next(steps)

    for writes in (1, 2, 3):
        for at in itertools.count():
            found, steps = read(at, writes)
            legal = {(2 * n + 2, value(n + 1, 20 if n == 0 else 30)) for n in range(writes + 1)}
            assert found in legal, f"written at step {at}"
            if at >= steps:
                break
        assert at > 30


def interleavings(left: int, right: int) -> Iterator[tuple[bool, ...]]:
    for chosen in itertools.combinations(range(left + right), left):
        yield tuple(place in chosen for place in range(left + right))


#: Of what is behind the version.
PARTS = (slice(0, 8), slice(8, 24), slice(24, 36))


class Coarse:
    """The steps of one write and one read, each as few as there can be, to be put in any order."""

    def __init__(self) -> None:
        data = memory()
        self.slot = Slot(data, 0)
        self.slot.write(KEY, value(1))
        self.written = self._steps_of_a_write()

    def _steps_of_a_write(self) -> list[Callable[[], None]]:
        word, body = self.slot.word, self.slot._body
        steps: list[Callable[[], None]] = []

        class Noted:
            def __getitem__(self, key: Any) -> Any:
                return word[key]

            def __setitem__(self, key: Any, data: Any) -> None:
                if key == ():
                    steps.append(lambda: word.__setitem__(key, data))
                else:
                    stores = [partial(body.__setitem__, part, data[part]) for part in PARTS]
                    steps.extend(stores)

        other = Slot(memory(), 0)
        other.word = other._body = Noted()
        other.write(KEY, value(2))
        return steps


def test_stores_that_come_in_any_order_are_told_by_the_checksum() -> None:
    """As on a processor that keeps no order, with a reader after any number of them."""
    accepted = set()
    for order in itertools.permutations(range(5)):
        for count in range(6):
            trial = Coarse()
            assert len(trial.written) == 5
            for place in order[:count]:
                trial.written[place]()
            accepted.add(trial.slot.read(KEY))
    assert accepted == {None, (2, value(1)), (4, value(2))}


@pytest.mark.usefixtures("_either_way")
def test_a_write_and_a_read_of_parts_in_every_order_tear_nothing() -> None:
    accepted = {read_among(Coarse(), iter(order)) for order in interleavings(5, 5)}
    assert accepted == {(2, value(1)), (4, value(2))}


def read_among(trial: Coarse, order: Iterator[bool]) -> Any:
    """Read, with one step of the write wherever it is its turn."""
    writes = iter(trial.written)
    word, body = trial.slot.word, trial.slot._body

    def advance() -> None:
        for is_write in order:
            if not is_write:
                return
            next(writes)()

    class Read:
        def __getitem__(self, key: Any) -> Any:
            advance()
            return word[key]

        def __bytes__(self) -> bytes:
            parts = []
            for part in PARTS:
                advance()
                parts.append(bytes(body[part]))
            return b"".join(parts)

    reader = Slot(memory(), 0)
    reader.word = reader._body = Read()
    return reader.read(KEY)


def test_a_slot_left_in_the_middle_of_a_write_is_mended_by_the_next() -> None:
    class Over(Exception):
        pass

    def stop() -> None:
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise Over

    for at in range(30):
        stepped = Stepped(lambda: None)
        reader = plain(stepped)
        stepped.slot.write(KEY, value(1))
        stepped.step, steps = stop, at
        with pytest.raises(Over):
            stepped.slot.write(KEY, value(2))
        assert reader.read(KEY) in ((2, value(1)), None)
        stepped.step = lambda: None
        stepped.slot.write(KEY, value(3))
        assert reader.read(KEY) == (4, value(3))


def test_versions_only_grow_whatever_a_slot_is_used_for() -> None:
    slot = Slot(memory(), 0)
    versions = []
    for key, content in [(KEY, b"a"), (0, None), (KEY + 1, b"b"), (KEY, None), (KEY, b"")]:
        slot.write(key, content)
        versions.append(slot.word[()])
    assert versions == [2, 4, 6, 8, 10]


def test_a_slot_of_something_else_is_not_read() -> None:
    slot = Slot(memory(), 0)
    assert slot.read(KEY) is None
    slot.write(KEY, b"x")
    assert slot.read(KEY) == (2, b"x")
    assert slot.read(KEY + 1) is None
    slot.write(0, None)
    assert slot.read(KEY) is None


def test_what_is_to_be_asked_for_is_said_so() -> None:
    slot = Slot(memory(), 0)
    slot.write(KEY, None)
    assert slot.read(KEY) == (2, None)
    assert slot.read(KEY + 1) is None


@pytest.mark.parametrize("size", [0, 1, ROOM - 1, ROOM])
def test_values_of_every_size_fit_and_touch_no_other_slot(size: int) -> None:
    data = memory(3)
    slots = [Slot(data, place) for place in range(3)]
    for number, slot in enumerate(slots):
        slot.write(KEY + number, value(number, size))
    for number, slot in enumerate(slots):
        assert slot.read(KEY + number) == (2, value(number, size))


def test_a_slot_is_found_by_its_key() -> None:
    data = memory(50)
    Slot(data, 20).write(KEY, b"x")
    assert find(data, KEY) == 20
    assert find(data, KEY + 1) is None


def test_every_attribute_of_every_object_has_a_key_of_its_own() -> None:
    keys = [key_of(number, index) for number in (1, 2, 2**40) for index in (0, 1, 2**16 - 1)]
    assert len(set(keys)) == len(keys)
    assert 0 not in keys


def test_bytes_that_nobody_wrote_are_no_value() -> None:
    data = memory()
    data[8:16] = KEY.to_bytes(8, "little")
    for size in (0, ROOM, ROOM + 1, 2**31):
        data[16:20] = size.to_bytes(4, "little")
        assert Slot(data, 0).read(KEY) is None
