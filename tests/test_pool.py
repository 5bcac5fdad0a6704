"""The client's segments: which is free, out, lost, given up."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pipeproxy._channels._parcels import Parcel, pack
from pipeproxy._channels._wire import BULK, KEPT, RESULT, TAKEN
from pipeproxy._client import _pool
from pipeproxy._client._pool import Lease, Pool
from pipeproxy._system._buffers import Segment
from pipeproxy.errors import ProtocolError

KEY = "module", "Class", 5
MIB = 1 << 20


class Pipe:
    closed = False


class Line:
    def __init__(self) -> None:
        self.pipe = Pipe()


class Lines:
    """Notes what is offered; its door may be full."""

    def __init__(self) -> None:
        self.offered: list[int] = []
        self.full = False

    def mine(self, deadline: float | None, beside: Any) -> None:
        """Have a line already."""

    def offer(self, number: int, memory: Any) -> bool:
        if not self.full:
            self.offered.append(number)
        return not self.full


class Held:
    """Notes what is given up."""

    def __init__(self) -> None:
        self.retired: list[int] = []

    def retire(self, number: int) -> None:
        self.retired.append(number)


class Scene:
    def __init__(self) -> None:
        self.lines, self.held = Lines(), Held()
        self.pool = Pool(self.lines, self.held)  # type: ignore[arg-type]

    def take(self, size: int = MIB) -> Lease | None:
        return self.pool.take(KEY, Parcel([bytes(size)], ()), None)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(_pool, "_made", [])
    return Scene()


def number(lease: Lease | None) -> int:
    assert lease is not None
    return lease.segment.number


def test_a_segment_that_is_back_is_used_again(scene: Scene) -> None:
    lease = scene.take()
    first = number(lease)
    other = scene.take()
    assert number(other) != first
    assert lease is not None
    lease.end()
    assert number(scene.take()) == first
    assert scene.lines.offered == [first, number(other)]


def test_the_smallest_that_does_is_taken(scene: Scene) -> None:
    leases = [scene.take(size * MIB) for size in (9, 3, 5)]
    for lease in leases:
        assert lease is not None
        lease.end()
    assert number(scene.take(4 * MIB)) == number(leases[2])


def test_what_needs_none_takes_none(scene: Scene) -> None:
    assert scene.pool.take(KEY, b"small", None) is None
    assert not scene.pool.in_use


def test_a_large_reply_lets_memory_go_with_the_next_call(scene: Scene) -> None:
    assert scene.pool.open(KEY, RESULT, bytes(MIB), None) == (RESULT, bytes(MIB))
    lease = scene.pool.take(KEY, b"small", None)
    assert lease is not None
    assert scene.pool.take((*KEY[:2], 6), b"small", None) is None
    kind, head, data = pack(RESULT, Parcel([bytes(MIB)], ()), lease.segment)
    assert not data
    kind, encoded = scene.pool.open(KEY, kind, head, lease)
    assert kind == RESULT
    assert type(encoded) is Parcel
    assert encoded.pickle == bytes(MIB)


def test_a_reply_in_memory_that_did_not_go_with_the_call_is_refused(scene: Scene) -> None:
    one, other = scene.take(), scene.take()
    assert one is not None
    _, head, _ = pack(RESULT, Parcel([bytes(MIB)], ()), one.segment)
    for lease in (other, None):
        with pytest.raises(ProtocolError):
            scene.pool.open(KEY, RESULT | BULK, head, lease)


def test_what_is_lost_is_given_up_and_never_used_again(scene: Scene) -> None:
    lost = number(scene.take())
    gc.collect()
    assert number(scene.take()) != lost
    assert scene.held.retired == [lost]


class Overtaken(dict[int, Any]):
    """What is out, where something happens between a look at all of it and what is done then."""

    def __init__(self, items: Any, then: Callable[[], object]) -> None:
        super().__init__(items)
        self._then: list[Callable[[], object]] = [then]

    def items(self) -> Any:
        seen = list(super().items())
        while self._then:
            self._then.pop()()
        return seen


def test_what_another_thread_gives_back_and_takes_meanwhile_is_not_given_up(scene: Scene) -> None:
    leases = [scene.take()]
    first = number(leases[0])

    def pass_on() -> None:
        lease = leases.pop()
        assert lease is not None
        lease.end()
        del lease
        leases.append(scene.pool._claim(scene.pool._all[first]))

    scene.pool._out = Overtaken(scene.pool._out, pass_on)
    scene.pool._tidy()
    assert number(leases[0]) == first
    assert scene.held.retired == []


def test_what_a_late_reply_brings_back_is_used_again(scene: Scene) -> None:
    lease, line = scene.take(), Line()
    first = number(lease)
    assert lease is not None
    scene.pool.await_end(lease, line, 5)  # type: ignore[arg-type]
    del lease
    other = scene.take()
    assert number(other) != first
    scene.pool.hear_end(6, RESULT)
    scene.pool.hear_end(5, RESULT)
    assert number(scene.take()) == first
    assert scene.held.retired == []


def test_what_no_reply_can_bring_back_any_more_is_given_up(scene: Scene) -> None:
    closed, gone = Line(), Line()
    numbers = []
    for line, ident in ((closed, 5), (gone, 0)):
        lease = scene.take()
        numbers.append(number(lease))
        assert lease is not None
        scene.pool.await_end(lease, line, ident)  # type: ignore[arg-type]
        del lease
    closed.pipe.closed = True
    del gone, line
    gc.collect()
    scene.take()
    assert scene.held.retired == numbers


def test_what_the_owner_keeps_is_given_up(scene: Scene) -> None:
    lease = scene.take()
    first = number(lease)
    assert lease is not None
    assert scene.pool.open(KEY, RESULT | KEPT, b"", lease) == (RESULT, b"")
    lease.end(RESULT | KEPT)
    assert scene.held.retired == [first]
    assert number(scene.take()) != first


def test_what_the_owner_keeps_of_a_call_that_nobody_waits_for_is_given_up(scene: Scene) -> None:
    line, numbers = Line(), []
    for ident, heard in ((5, RESULT | KEPT), (0, TAKEN | KEPT)):
        lease = scene.take()
        numbers.append(number(lease))
        assert lease is not None
        scene.pool.await_end(lease, line, ident)  # type: ignore[arg-type]
        scene.pool.hear_end(ident or -numbers[-1], heard)
        del lease
    assert scene.held.retired == numbers


def test_what_is_viewed_here_is_used_again_when_it_is_not_any_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = scene.take()
    first = number(lease)
    assert lease is not None
    _, head, _ = pack(RESULT, Parcel([b"x"], [bytes(MIB // 2)], frozenset({0})), lease.segment)
    _, encoded = scene.pool.open(KEY, RESULT | BULK, head, lease)
    lease.end(RESULT | BULK)
    other = scene.take()
    assert number(other) != first
    monkeypatch.setattr(_pool, "KEEP", 0.0)
    scene.pool._trim_at = 0.0
    scene.pool.take(KEY, b"small", None)
    assert scene.held.retired == []  # it takes memory, so it counts
    del encoded
    monkeypatch.setattr(_pool, "KEEP", 10.0)
    assert number(scene.take()) == first


def test_at_a_full_door_nothing_is_to_be_had(scene: Scene) -> None:
    scene.lines.full = True
    assert scene.take() is None
    scene.lines.full = False
    assert scene.take() is not None


def test_what_is_not_used_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, kept = scene.take(), scene.take()
    assert lease is not None
    lease.end()
    monkeypatch.setattr(_pool, "KEEP", 0.0)
    scene.pool._trim_at = 0.0
    scene.pool.take(KEY, b"small", None)
    assert scene.held.retired == [number(lease)]
    assert kept is not None
    kept.end()
    scene.pool.take(KEY, b"small", None)
    assert not scene.pool.in_use


def test_a_fork_leaves_all_to_the_parent(scene: Scene) -> None:
    kept = scene.take()
    scene.pool.forked()
    assert not scene.pool.in_use
    assert number(scene.take()) != number(kept)


class Pools(RuleBasedStateMachine):
    """Take, end, lose and forget in any order, within a small bound."""

    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self._before = _pool._made, _pool.MOST_BYTES, _pool.MOST_SEGMENTS
        _pool._made, _pool.MOST_BYTES, _pool.MOST_SEGMENTS = [], 40 * MIB, 16  # type: ignore[misc]
        self.scene = Scene()
        self.out: list[Lease] = []

    def teardown(self) -> None:
        _pool._made, _pool.MOST_BYTES, _pool.MOST_SEGMENTS = self._before  # type: ignore[misc]

    @rule(size=st.integers(1, 8 * MIB))
    def take(self, size: int) -> None:
        lease = self.scene.take(size)
        if lease is not None:
            assert lease.segment.size >= size
            assert all(lease.segment is not other.segment for other in self.out)
            assert lease.segment.number not in self.scene.held.retired
            self.out.append(lease)

    @rule(index=st.integers(0, 20))
    def end(self, index: int) -> None:
        if self.out:
            self.out.pop(index % len(self.out)).end()

    @rule(index=st.integers(0, 20))
    def lose(self, index: int) -> None:
        if self.out:
            del self.out[index % len(self.out)]

    @rule()
    def pass_time(self) -> None:
        self.scene.pool._used = dict.fromkeys(self.scene.pool._used, 0.0)
        self.scene.pool._trim_at = 0.0

    @invariant()
    def is_bounded(self) -> None:
        sizes = [s.size for s in self._alive()]
        assert sum(sizes) <= _pool.MOST_BYTES // 2
        assert len(sizes) <= _pool.MOST_SEGMENTS // 2

    @invariant()
    def what_is_out_is_kept(self) -> None:
        numbers = {lease.segment.number for lease in self.out}
        assert not numbers & set(self.scene.held.retired)
        assert numbers <= {segment.number for segment in self._alive()}

    def _alive(self) -> list[Segment]:
        return [segment for known in list(_pool._made) if (segment := known()) is not None]


TestPools = Pools.TestCase
