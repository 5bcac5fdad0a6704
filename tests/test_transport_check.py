"""The check of transports: the pipe passes it, and what is wrong with another is named."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pipeproxy._system._descriptors import Descriptor
from pipeproxy.testing import End, check_transport
from pipeproxy.transports.pipe import Pipe, open_pair

from .support import PATIENCE, open_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Wrapped:
    """An end that does what a pipe does; each class below does one thing otherwise."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def read(self, size: int) -> bytes | None:
        return self.pipe.read(size)

    def write(self, data: Any) -> int | None:
        return self.pipe.write(data)

    @property
    def reader(self) -> int:
        return self.pipe.reader

    @property
    def writer(self) -> int:
        return self.pipe.writer

    @property
    def closed(self) -> bool:
        return self.pipe.closed

    def enlarge(self) -> bool:
        return self.pipe.enlarge()

    def close(self) -> None:
        self.pipe.close()


class ReadsWait(Wrapped):
    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        os.set_blocking(pipe.reader, True)


class WritesWait(Wrapped):
    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        os.set_blocking(pipe.writer, True)


class SaysEndForNothing(Wrapped):
    def read(self, size: int) -> bytes | None:
        return self.pipe.read(size) or b""


class SaysNothingForEnd(Wrapped):
    def read(self, size: int) -> bytes | None:
        return self.pipe.read(size) or None


class SaysZeroForFull(Wrapped):
    def write(self, data: Any) -> int | None:
        return self.pipe.write(data) or 0


class ReadsTooMuch(Wrapped):
    def read(self, size: int) -> bytes | None:
        return self.pipe.read(size + 1)


class LosesALateByte(Wrapped):
    read_so_far = 0

    def read(self, size: int) -> bytes | None:
        data = self.pipe.read(size)
        self.read_so_far += len(data or b"")
        if data and len(data) > 1 and self.read_so_far > 1_000_000:
            return data[:-1]
        return data


class ChangesALateByte(Wrapped):
    written = 0

    def write(self, data: Any) -> int | None:
        self.written += len(data)
        if self.written > 5_000_000:
            data = bytes([data[0] ^ 1]) + bytes(data[1:])
        return self.pipe.write(data)


class Swaps(Wrapped):
    def write(self, data: Any) -> int | None:
        return self.pipe.write(bytes(data[::-1]))


class TakesTheRestForWritten(Wrapped):
    def write(self, data: Any) -> int | None:
        count = self.pipe.write(data)
        return len(data) if count else count


class TakesAll(Wrapped):
    """Keeps what the pipe does not take."""

    def write(self, data: Any) -> int | None:
        self.pipe.write(data)
        return len(data)


class RepeatsItself(Wrapped):
    def write(self, data: Any) -> int | None:
        count = self.pipe.write(data)
        if count and len(data) > 1000:
            self.pipe.write(data[:3])
        return count


class PollsTheOtherDescriptor(Wrapped):
    @property
    def reader(self) -> int:
        return self.pipe.writer


class PollsNoWriter(Wrapped):
    @property
    def writer(self) -> int:
        return self.pipe.reader


class HidesABrokenPipe(Wrapped):
    def write(self, data: Any) -> int | None:
        try:
            return self.pipe.write(data)
        except BrokenPipeError:
            return len(data)


class RaisesAnotherError(Wrapped):
    def write(self, data: Any) -> int | None:
        try:
            return self.pipe.write(data)
        except BrokenPipeError:
            raise ConnectionResetError("reset") from None


class IsEnlargedInWords(Wrapped):
    def enlarge(self) -> bool:
        return True


class RefusesASecondClose(Wrapped):
    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        super().close()


class ClosesNumbers(Wrapped):
    """Closes the number that it had, whoever has it now."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.numbers = [pipe.reader, pipe.writer]

    def close(self) -> None:
        super().close()
        for number in self.numbers:
            if number in open_descriptors():
                os.close(number)


class DoesNotSayThatItIsClosed(Wrapped):
    closed = False


class IsClosedFromTheBeginning(Wrapped):
    closed = True


class IsInherited(Wrapped):
    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        os.set_inheritable(pipe.writer, True)


class KeepsACopy(Wrapped):
    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        copies.append(os.dup(pipe.reader))


class KeepsACopyUntilItIsClosed(Wrapped):
    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.copies = [os.dup(pipe.reader)]
        copies.extend(self.copies)

    def close(self) -> None:
        super().close()
        while self.copies:
            copies.remove(self.copies[-1])
            os.close(self.copies.pop())


copies: list[int] = []


class HidesTheEnd(Wrapped):
    """Keeps the other's end open, as a copy that somebody inherited."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self.copy = Descriptor(os.dup(pipe.writer), "wb")


FAULTS: list[tuple[type[Wrapped], str]] = [
    (ReadsWait, r"a read of up to 1 bytes did not return within 0.5 s"),
    (WritesWait, r"a write of \d+ bytes did not return within 0.5 s"),
    (SaysEndForNothing, r"a read of a new end returned b'', not None"),
    (SaysNothingForEnd, r"after the end a read returned None, not b''"),
    (SaysZeroForFull, r"a write of \d+ bytes returned 0, neither what it took nor None"),
    (ReadsTooMuch, r"a read of \d+ bytes returned \d+"),
    (LosesALateByte, r"bytes were lost|byte \d+ that was written arrived as another"),
    (ChangesALateByte, r"byte \d+ that was written arrived as another"),
    (Swaps, r"byte \d+ that was written arrived as another"),
    (TakesTheRestForWritten, r"bytes were lost|byte \d+ that was written arrived as another"),
    (TakesAll, r"bytes were lost|byte \d+ that was written arrived as another|no limit"),
    (RepeatsItself, r"more bytes arrived than were written|arrived as another"),
    (
        PollsTheOtherDescriptor,
        r"a poll does not find an end readable to which something was written",
    ),
    (PollsNoWriter, r"a poll does not find an end writable that is empty"),
    (HidesABrokenPipe, r"a write to a closed end took 1 bytes, without BrokenPipeError"),
    (RaisesAnotherError, r"a write to a closed end raised ConnectionResetError"),
    (IsEnlargedInWords, r"an end that says that it was enlarged takes no more than before"),
    (RefusesASecondClose, r"a second close raised ValueError"),
    (ClosesNumbers, r"a second close closed what others had opened since"),
    (DoesNotSayThatItIsClosed, r"a closed end does not say so"),
    (IsClosedFromTheBeginning, r"a new end says that it is closed"),
    (IsInherited, r"a program that is started inherits a descriptor"),
    (KeepsACopy, r"two closed ends left descriptors open"),
    (KeepsACopyUntilItIsClosed, r"dropped without a close left descriptors open"),
    (HidesTheEnd, r"after the end a read returned None, not b''"),
]
#: Every fault at one end, in turn.
ENDS = [(number % 2, *fault) for number, fault in enumerate(FAULTS)]


def opener_of(kind: Callable[[Pipe], End], side: int) -> Callable[[], tuple[End, End]]:
    """Return what opens pairs of which one end is of this kind."""

    def open_such() -> tuple[End, End]:
        ends: list[End] = list(open_pair())
        ends[side] = kind(ends[side])  # type: ignore[arg-type]
        return ends[0], ends[1]

    return open_such


def test_the_pipe_passes() -> None:
    check_transport(open_pair)


@pytest.mark.parametrize("side", [0, 1])
def test_what_is_wrapped_passes_as_well(side: int) -> None:
    check_transport(opener_of(Wrapped, side))


@pytest.mark.parametrize(("side", "kind", "fault"), ENDS)
def test_a_fault_of_one_end_is_named(side: int, kind: type[Wrapped], fault: str) -> None:
    before = threading.active_count()
    try:
        with pytest.raises(AssertionError, match=fault):
            check_transport(opener_of(kind, side), patience=0.5)
    finally:
        while copies:
            os.close(copies.pop())
    assert threading.active_count() == before


def test_a_socket_fails_that_forgets_its_last_words() -> None:
    """It resets the connection if it is closed with something unread."""

    def open_sockets() -> tuple[End, End]:
        ends = []
        for each in socket.socketpair():
            number = each.detach()
            os.set_blocking(number, False)
            ends.append(Descriptor(number, "rb"))
        one, other = ends
        copies = [Descriptor(os.dup(end.fileno()), "wb") for end in ends]
        return Pipe(one, copies[0]), Pipe(other, copies[1])

    with pytest.raises(AssertionError, match="a read near the end raised ConnectionResetError"):
        check_transport(open_sockets, patience=PATIENCE)
