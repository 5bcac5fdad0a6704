"""What every transport must do, as a check that can be aimed at any.

The rooms above rely on all of it: bytes arrive whole and in order, nobody ever waits in a read or a
write, the end is told as the end, and no descriptor is lost or closed twice.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from ..transports.pipe import wait_for

#: Sizes round those of headers, pages, pipes and reads.
_SIZES: Final = (1, 2, 23, 24, 25, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1_000_000)
_LARGE: Final = 3_000_000
#: What an end that is never full has taken when that is said of it.
_MOST_TAKEN: Final = 1 << 28
_PIECE: Final = bytes(1 << 16)


class End(Protocol):
    """One end of what carries a channel; `pipeproxy.transports.pipe.Pipe` is one."""

    @property
    def read(self) -> Callable[[int], bytes | None]:
        """``read(n)`` returns up to n bytes; None where it would wait; b"" at the end."""

    @property
    def write(self) -> Callable[[Any], int | None]:
        """``write(data)`` returns how many bytes it took; None where it would wait."""

    @property
    def reader(self) -> int:
        """The descriptor that becomes readable, for a poll."""

    @property
    def writer(self) -> int:
        """The descriptor that becomes writable, for a poll."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""

    def enlarge(self) -> bool:
        """Let more bytes be on their way; return whether more can be written now than before."""

    def close(self) -> None:
        """Close it; a second time does nothing."""


def check_transport(open_pair: Callable[[], tuple[End, End]], *, patience: float = 10.0) -> None:
    """Check that a transport does what every transport must do.

    It looks at the descriptors of the whole process: let nothing else open or close any meanwhile.

    Args:
        open_pair: returns two connected ends: the one for this process and the one to give away.
        patience: seconds after which something is said to wait that must not.

    Raises:
        AssertionError: it does not; the text names the fault.
    """
    for check in _CHECKS:
        for near in (0, 1):
            before = _open_descriptors()
            pair = open_pair()
            try:
                _Trial(pair[near], pair[1 - near], patience).run(check)
            finally:
                for end in pair:
                    if not end.closed:
                        end.close()
                del end
            del pair
            _assert_all_closed(before, "two closed ends")
    before = _open_descriptors()
    open_pair()
    _assert_all_closed(before, "two ends that were dropped without a close")


class _Trial:
    """Two connected ends, as they are tried.

    What might wait runs in a thread, so that the check itself does not wait for ever.
    """

    def __init__(self, near: End, far: End, patience: float) -> None:
        self.near, self.far = near, far
        self.patience = patience
        self.random = Random(1)
        self._doing = "nothing"
        self._errors: list[BaseException] = []

    def run(self, check: Callable[[_Trial], None]) -> None:
        thread = threading.Thread(target=self._try, args=(check,), daemon=True)
        thread.start()
        thread.join(self.patience)
        if thread.is_alive():
            doing = self._doing
            self.near.close()
            self.far.close()  # which ends the wait of most
            thread.join(self.patience / 10)
            raise AssertionError(f"{doing} did not return within {self.patience} s")
        if self._errors:
            raise self._errors.pop()

    def _try(self, check: Callable[[_Trial], None]) -> None:
        try:
            check(self)
        except BaseException as error:
            self._errors.append(error)

    # -- steps ------------------------------------------------------------------------------------

    def read(self, end: End, size: int) -> bytes | None:
        self._doing = f"a read of up to {size} bytes"
        data = end.read(size)
        self._doing = "what the check did next"
        assert data is None or len(data) <= size, f"a read of {size} bytes returned {len(data)}"
        return data

    def write(self, end: End, data: bytes | memoryview) -> int:
        """Write once; return how much was taken."""
        self._doing = f"a write of {len(data)} bytes"
        count = end.write(data)
        self._doing = "what the check did next"
        assert count is None or 0 < count <= len(data), (
            f"a write of {len(data)} bytes returned {count}, neither what it took nor None"
        )
        return count or 0

    def read_all(self, end: End, most: int = 1 << 16) -> bytes:
        """Read until a read would wait, or to the end."""
        parts = []
        while data := self.read(end, self.random.randint(1, most)):
            parts.append(data)
        return b"".join(parts)

    def fill(self, end: End) -> int:
        """Write zeros until a write would wait; return how many."""
        total = 0
        while count := self.write(end, _PIECE):
            total += count
            assert total < _MOST_TAKEN, f"an end took {total} bytes that nobody read: no limit"
        return total

    def carry(self, *ways: tuple[End, End, bytes]) -> None:
        """Move bytes from the first end to the second, for all ways at once, and compare them."""
        left = [memoryview(data) for _, _, data in ways]
        arrived = [0 for _ in ways]
        while any(count < len(data) for count, (_, _, data) in zip(arrived, ways, strict=True)):
            moved = 0
            for number, (sender, receiver, data) in enumerate(ways):
                if left[number]:
                    offered = left[number][: self.random.choice((1, 1000, 100_000, _LARGE))]
                    count = self.write(sender, offered)
                    left[number] = left[number][count:]
                    moved += count
                got = self.read(receiver, self.random.choice((1, 1000, 1 << 16, 1 << 20)))
                assert got != b"", "a read returned b'', as at the end, of an end that is open"
                if got:
                    place = arrived[number]
                    arrived[number] += len(got)
                    _assert_same(got, data[place : arrived[number]], place)
                    moved += len(got)
            if not moved:
                self._wait_for_any(ways, left)
        for _, receiver, data in ways:
            rest = self.read(receiver, 1)
            assert rest is None, f"after all {len(data)} bytes that were written came {rest!r}"

    def _wait_for_any(self, ways: tuple[tuple[End, End, bytes], ...], left: list[Any]) -> None:
        wants = [(receiver.reader, False) for _, receiver, _ in ways]
        wants += [(ways[number][0].writer, True) for number, data in enumerate(left) if data]
        missing = wait_for(*wants, timeout=self.patience / 2)
        assert missing, "bytes were lost: nothing more can be read or written"

    def assert_ready(self, end: End, *, writing: bool = False, why: str) -> None:
        number, name = (end.writer, "writable") if writing else (end.reader, "readable")
        ready = wait_for((number, writing), timeout=self.patience / 2)
        assert ready, f"a poll does not find an end {name} {why}"

    def assert_not_ready(self, end: End, *, writing: bool = False, why: str) -> None:
        number, name = (end.writer, "writable") if writing else (end.reader, "readable")
        ready = wait_for((number, writing), timeout=0)
        assert not ready, f"a poll finds an end {name} {why}"


# What is checked ---------------------------------------------------------------------------------


def _a_new_end_is_empty(trial: _Trial) -> None:
    end = trial.near
    assert not end.closed, "a new end says that it is closed"
    got = trial.read(end, 1)
    assert got is None, f"a read of a new end returned {got!r}, not None"
    trial.assert_not_ready(end, why="before anything was written to it")
    trial.assert_ready(end, writing=True, why="that is empty")
    for number in (end.reader, end.writer):
        assert not os.get_inheritable(number), "a program that is started inherits a descriptor"


def _bytes_arrive_whole_and_in_order(trial: _Trial) -> None:
    for size in _SIZES:
        data = trial.random.randbytes(size)
        trial.carry((trial.near, trial.far, data))
        trial.assert_not_ready(trial.far, why="of which everything was read")
    count = trial.write(trial.near, b"hello")
    trial.assert_ready(trial.far, why="to which something was written")
    _assert_same(trial.read_all(trial.far), b"hello"[:count])


def _a_full_end_takes_no_more(trial: _Trial) -> None:
    near, far = trial.near, trial.far
    total = trial.fill(near)
    trial.assert_not_ready(near, writing=True, why="that took no more")
    trial.carry((far, near, b"the other way is free"))
    if near.enlarge():
        more = trial.fill(near)
        assert more, "an end that says that it was enlarged takes no more than before"
        total += more
    _assert_same(trial.read_all(far), bytes(total))
    trial.assert_ready(near, writing=True, why="from which everything was read")
    trial.carry((near, far, b"it goes on"))


def _both_ways_at_once(trial: _Trial) -> None:
    one, other = trial.random.randbytes(_LARGE), trial.random.randbytes(_LARGE)
    trial.carry((trial.near, trial.far, one), (trial.far, trial.near, other))


def _the_end_comes_after_everything(trial: _Trial) -> None:
    near, far = trial.near, trial.far
    trial.write(far, b"never read")
    count = trial.write(near, b"last words")
    near.close()
    trial.assert_ready(far, why="whose other end is closed")
    try:
        got = trial.read_all(far, most=4)
        _assert_same(got, b"last words"[:count])
        for _ in range(2):
            rest = trial.read(far, 1)
            assert rest == b"", f"after the end a read returned {rest!r}, not b''"
    except OSError as error:
        raise AssertionError(f"a read near the end raised {error!r}") from error
    trial.assert_ready(far, why="at its end")
    _assert_broken(trial, far)


def _whoever_waits_to_write_learns_of_the_end(trial: _Trial) -> None:
    trial.fill(trial.far)
    trial.near.close()
    trial.assert_ready(trial.far, writing=True, why="that was full when its other end was closed")
    _assert_broken(trial, trial.far)


def _a_second_close_does_nothing(trial: _Trial) -> None:
    for end in (trial.near, trial.far):
        end.close()
        assert end.closed, "a closed end does not say so"
        # These get the numbers that have become free.
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
        try:
            end.close()
        except Exception as error:
            raise AssertionError(f"a second close raised {error!r}") from error
        finally:
            still_open = _open_descriptors()
            for number in others:
                if number in still_open:
                    os.close(number)
        closed = [number for number in others if number not in still_open]
        assert not closed, "a second close closed what others had opened since"


_CHECKS: Final = (
    _a_new_end_is_empty,
    _bytes_arrive_whole_and_in_order,
    _a_full_end_takes_no_more,
    _both_ways_at_once,
    _the_end_comes_after_everything,
    _whoever_waits_to_write_learns_of_the_end,
    _a_second_close_does_nothing,
)


def _assert_same(got: bytes, expected: bytes, start: int = 0) -> None:
    """Compare what arrived with what was written; `start` is the number of the first byte."""
    if got == expected:
        return
    pairs = enumerate(zip(got, expected, strict=False), start)
    place = next((number for number, (one, other) in pairs if one != other), None)
    assert place is None, f"byte {place} that was written arrived as another"
    assert len(got) < len(expected), "more bytes arrived than were written"
    raise AssertionError(f"of {len(expected)} bytes that were written only {len(got)} arrived")


def _assert_broken(trial: _Trial, end: End) -> None:
    try:
        taken = trial.write(end, b"x")
    except BrokenPipeError:
        return
    except OSError as error:
        raise AssertionError(f"a write to a closed end raised {error!r}") from error
    raise AssertionError(f"a write to a closed end took {taken} bytes, without BrokenPipeError")


def _assert_all_closed(before: dict[int, tuple[int, int]], what: str) -> None:
    gc.collect()
    left = sorted(_open_descriptors().items() - before.items())
    assert not left, f"{what} left descriptors open (number, (device, inode)): {left}"


def _open_descriptors() -> dict[int, tuple[int, int]]:
    found = {}
    for name in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # it was that of the listing
        found[int(name)] = (status.st_dev, status.st_ino)
    return found
